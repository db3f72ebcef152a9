"""Whether a heat map shows what speaks for its label, against attention and a random map.

python benchmarks/heat_maps.py --shapes CHECKPOINT [CHECKPOINT ...]
python benchmarks/heat_maps.py --photos FOLDER CHECKPOINT [CHECKPOINT ...]

On shapes, of which a map's label is present: how often its highest token lies in the shape's box,
in it or within one token of it, and nearer to it than to any other shape of the scene. On the test
images of a table (a folder of labels.csv), for the five labels of the highest scores: the mean
probability of the label while its image is put together in the map's order, the highest first, from
one where each token is the mean token, or from a coarse image where pixels are (insertion, high is
good), or taken apart (deletion, low is good); and the correlation of the five maps of an image.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from zsl.data import ShapesDataModule
from zsl.data.shapes import SIZE
from zsl.data.split import Split
from zsl.inference.image_batches import image_batches
from zsl.inference.scorer import PreparedLabels
from zsl.inference.tagger import Tagger
from zsl.preprocessing import evaluation_transform

NUM_LABELS = 5
NUM_STEPS = 12

Maps = Callable[[Tensor, list[int]], Tensor]
"""Makes the maps (L, T) of some labels from the tokens (1, T, C) of an image."""


def kinds_of_maps(tagger: Tagger, prepared: PreparedLabels) -> dict[str, Maps]:
    """The kinds of maps that are compared."""
    generator = torch.Generator().manual_seed(0)
    head: Any = tagger.network.head

    def random(tokens: Tensor, columns: list[int]) -> Tensor:
        return torch.rand(len(columns), tokens.shape[1], generator=generator)

    def attention(tokens: Tensor, columns: list[int]) -> Tensor:
        return head.attention(tokens, prepared.queries[columns])[0]

    def heat_maps(tokens: Tensor, columns: list[int]) -> Tensor:
        return tagger.heat_maps(tokens, prepared, columns)[0].flatten(1)

    kinds: dict[str, Maps] = {"random": random, "attention": attention, "heat maps": heat_maps}
    return kinds if hasattr(head, "attention") else {"random": random, "heat maps": heat_maps}


def point_at_shapes(checkpoint: str, num_scenes: int) -> None:
    """Prints the pointing game of each kind of map, by roles of labels."""
    tagger = Tagger.from_pretrained(checkpoint)
    dataset = ShapesDataModule(num_test=num_scenes).dataset(Split.TEST, evaluation_transform(SIZE))
    names, queries = tagger.embed(None)
    prepared = tagger.prepare(queries)
    images = [dataset.image(index) for index in range(num_scenes)]
    tokens = torch.cat(list(tagger.token_batches(images)))
    for kind, make in kinds_of_maps(tagger, prepared).items():
        hits: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
        for index in range(num_scenes):
            boxes = dataset.boxes(index)
            maps = make(tokens[index : index + 1], [names.index(label) for label in boxes])
            for label, own in zip(boxes, maps, strict=True):
                role = str(tagger.vocabulary.roles[names.index(label)])
                hits[role].append(hit(own, label, boxes))
        for role, of_role in sorted(hits.items()):
            inside, within, nearest = np.nanmean(of_role, axis=0)
            print(
                f"{kind:<10} {role:<9} in the box {inside:.3f}  within a token {within:.3f}  "
                f"nearest {nearest:.3f}  ({len(of_role)} shapes)",
                flush=True,
            )


def hit(
    own: Tensor, label: str, boxes: dict[str, tuple[float, float, float, float]]
) -> tuple[float, float, float]:
    """Whether the highest token (T,) is in the box, within a token of it, nearest to its centre."""
    side = math.isqrt(len(own))
    row, column = divmod(int(own.argmax()), side)
    token = SIZE / side
    x, y = (column + 0.5) * token, (row + 0.5) * token
    left, top, right, bottom = boxes[label]
    distance = max(left - x, x - right, top - y, y - bottom)
    centres = {name: ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for name, box in boxes.items()}
    nearest = min(centres, key=lambda name: math.dist(centres[name], (x, y)))
    return distance <= 0, distance <= token, nearest == label if len(boxes) > 1 else math.nan


def take_apart_photos(checkpoint: str, folder: Path, num_images: int) -> None:
    """Prints insertion, deletion and correlation of each kind of map."""
    tagger = Tagger.from_pretrained(checkpoint)
    prepared = tagger.prepare(tagger.embed(None)[1])
    print(tagger.network.scoring)
    side = tagger.map_side
    found: dict[str, list[list[float]]] = defaultdict(list)
    correlations: dict[str, list[float]] = defaultdict(list)
    kinds = kinds_of_maps(tagger, prepared)
    for image in photos(tagger, folder, num_images):
        coarse = F.interpolate(image[None].float(), (4, 4), mode="area")
        coarse = F.interpolate(coarse, image.shape[1:], mode="bicubic")[0].clamp(0, 255)
        coarse = coarse.round().to(torch.uint8)
        tokens = tagger.tokens(image[None])
        columns = tagger.score(tokens, prepared)[0][0].topk(NUM_LABELS).indices.tolist()
        for kind, make in kinds.items():
            maps = make(tokens, columns)
            pairs = np.corrcoef(maps)[np.triu_indices(NUM_LABELS, 1)]
            correlations[kind].append(float(pairs.mean()))
            for column, own in zip(columns, maps, strict=True):
                kept = steps(own)
                of_tokens = kept[:, :, None]
                scale = image.shape[1] / side
                cell = (torch.arange(image.shape[1]) / scale).long()
                of_pixels = kept.unflatten(1, (side, side))[:, None, cell][..., cell]
                mean = tokens[0].mean(dim=0)
                inputs = [
                    torch.where(of_tokens, tokens[0], mean),
                    torch.where(of_tokens, mean, tokens[0]),
                    tagger.tokens(torch.where(of_pixels, image, coarse)),
                    tagger.tokens(torch.where(of_pixels, coarse, image)),
                ]
                scores = [tagger.score(each, prepared)[1][:, column] for each in inputs]
                found[kind].append([float(each.mean()) for each in scores])
    for kind, rows in found.items():
        tokens_in, tokens_out, pixels_in, pixels_out = np.mean(rows, axis=0)
        print(
            f"{kind:<10} tokens: insertion {tokens_in:.3f} deletion {tokens_out:.3f}  pixels: "
            f"insertion {pixels_in:.3f} deletion {pixels_out:.3f}  correlation of an image's maps "
            f"{np.nanmean(correlations[kind]):.2f}",
            flush=True,
        )


def photos(tagger: Tagger, folder: Path, number: int) -> Iterator[Tensor]:
    """Yields test images (3, S, S), drawn at random."""
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        names = [row["image"] for row in csv.DictReader(file) if row["split"] == "test"]
    chosen = np.random.default_rng(0).permutation(len(names))[:number]
    paths = [folder / names[index] for index in chosen]
    for batch in image_batches(paths, tagger.image_size, 32, tagger.resizing):
        yield from batch.images


def steps(own: Tensor) -> Tensor:
    """Bool (NUM_STEPS + 1, T): which tokens are there, from none to all, the highest first."""
    rank = own.argsort(descending=True).argsort()
    numbers = torch.linspace(0, len(own), NUM_STEPS + 1).round()
    return rank < numbers[:, None]


def main() -> None:
    """Prints what was asked for, checkpoint by checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoints", nargs="+", metavar="CHECKPOINT")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--shapes", action="store_true")
    source.add_argument("--photos", type=Path, metavar="FOLDER")
    parser.add_argument("--num_images", type=int, default=100)
    options = parser.parse_args()
    for checkpoint in options.checkpoints:
        print(f"\n{checkpoint}")
        with torch.no_grad():
            if options.shapes:
                point_at_shapes(checkpoint, options.num_images)
            else:
                take_apart_photos(checkpoint, options.photos, options.num_images)


if __name__ == "__main__":
    main()
