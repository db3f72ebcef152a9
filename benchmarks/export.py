"""Images per second of ONNX Runtime beside PyTorch, and how far their logits are apart.

python benchmarks/export.py [--labels 1006] [--size 224] [--threads 2]

EfficientNet-Lite0 with random weights and an ML-Decoder of width 768, full and of 20 and 100
groups, queried with random vectors (L, 384): built in ("baked"), and as an input ("open"). PyTorch
runs eagerly in inference mode, the queries prepared once. Best of several rounds, in turn.

With --checkpoint and --photos instead: the largest difference of a probability between photographs
resized by Pillow, as in docs/export.md, and by the transform of evaluation.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from PIL import Image

from zsl.files.images import read_image, read_pixels
from zsl.inference.export_formats import export_tagger
from zsl.inference.tagger import Tagger
from zsl.models import MLDecoderConfig, TaggerNetwork, TimmBackboneConfig
from zsl.preprocessing import evaluation_transform

QUERY_DIM, ROUNDS = 384, 5


def open_session(path: Path, threads: int) -> Any:
    """A session of ONNX Runtime with as many threads as PyTorch has."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(path, options)


@torch.inference_mode()
def best_times(contenders: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The shortest time of each in seconds."""
    best = dict.fromkeys(contenders, float("inf"))
    for contender in contenders.values():
        contender()
    for _ in range(ROUNDS):
        for name, contender in contenders.items():
            start = time.perf_counter()
            contender()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def compare(num_groups: int | None, num_labels: int, size: int, threads: int) -> None:
    """Prints a line for each batch size."""
    torch.manual_seed(0)
    queries = torch.randn(num_labels, QUERY_DIM)
    backbone = TimmBackboneConfig("tf_efficientnet_lite0", weights=None)
    head = MLDecoderConfig(num_groups)
    tagger = TaggerNetwork.make(backbone, head, size, queries, num_labels).eval()
    sessions = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("open", "baked"):
            path = Path(folder) / f"{name}.onnx"
            found = export_tagger(tagger, queries, name == "baked", size, path, "onnx")
            print(
                f"{num_groups or 'no'} groups, {name}: logits up to {found.largest_logit:.2f} "
                f"differ by at most {found.largest:.1e}"
            )
            sessions[name] = open_session(path, threads)
    for batch in (1, 16):
        images = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8)
        inputs = {"images": images.numpy()}
        both = inputs | {"queries": queries.numpy()}
        times = best_times(
            {
                "PyTorch": partial(tagger, images, tagger.prepare(queries)),
                "open": partial(sessions["open"].run, None, both),
                "baked": partial(sessions["baked"].run, None, inputs),
            }
        )
        rates = ", ".join(f"{name} {batch / seconds:.2f}" for name, seconds in times.items())
        print(f"{num_groups or 'no'} groups, batch {batch}, images/s: {rates}", flush=True)


@torch.no_grad()
def compare_resizing(checkpoint: str, folder: str, most: int) -> None:
    """Prints how far probabilities and pixels are apart between Pillow's and our resize."""
    tagger = Tagger.from_pretrained(checkpoint)
    transform, side = evaluation_transform(tagger.image_size), tagger.image_size
    probabilities, pixels = [], []
    paths = sorted(path for path in Path(folder).rglob("*") if path.suffix in (".jpg", ".png"))
    for path in paths[:: max(1, len(paths) // most)][:most]:
        read = torch.from_numpy(read_pixels(path, transform.min_side)).permute(2, 0, 1)
        resized = read_image(path).resize((side, side), Image.Resampling.BILINEAR)
        two = torch.stack([transform(read), torch.tensor(np.asarray(resized)).permute(2, 0, 1)])
        one, other = tagger(two).sigmoid()
        probabilities.append(float((one - other).abs().max()))
        pixels.append(float((two[0].float() - two[1].float()).abs().mean()))
    print(
        f"{len(probabilities)} photographs: the largest difference of a probability is "
        f"{max(probabilities):.4f}, the mean of each photograph's largest "
        f"{np.mean(probabilities):.4f}; pixels differ by {np.mean(pixels):.2f} of 255 on average"
    )


def main() -> None:
    """Measures speeds, or differences of resizing."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--labels", type=int, default=1006)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--checkpoint")
    parser.add_argument("--photos")
    parser.add_argument("--most", type=int, default=1000)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.photos:
        compare_resizing(options.checkpoint, options.photos, options.most)
    else:
        for groups in (None, 20, 100):
            compare(groups, options.labels, options.size, options.threads)


if __name__ == "__main__":
    main()
