"""Time and memory of OpenImages at its true size, with drawn labels and no pixels.

    python benchmarks/large_index.py [--scale 1] [--labels_measured 1000] [--folder FOLDER]

Writes the annotations of V6: 9,011,219 + 41,620 + 125,436 images, 9,605 labels, 57.5 + 0.6 + 1.8
million verified labels. Measures, each in a process of its own: making the index, opening it, the
first batch of targets and the following ones, the start of an epoch and its resumption in the
middle; the same for shards of 10,000 images, whose tar files have their size but no content; and
exact average precision on the test split, of as many labels as `--labels_measured` says. Needs 8 GB
of disk. `--scale 0.01` makes everything as much smaller.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zsl.data import (
    ImageConfig,
    MultiLabelDataModule,
    OpenImagesDataModule,
    ShardsDataModule,
    Split,
)
from zsl.data.openimages.datamodule import OpenImagesDataset
from zsl.data.shards import ShardDataset, shard_name
from zsl.data.sparse_targets import SparseTargets, TargetBlock
from zsl.data.write_shards import _write_index
from zsl.metrics import average_precision

NUM_LABELS = 9605
IMAGES = {"train": 9_011_219, "validation": 41_620, "test": 125_436}
VERIFIED = {"train": 57_524_352, "validation": 595_339, "test": 1_799_883}
PER_SHARD = 10_000
SHARD_BYTES = PER_SHARD * 60_000
"""About what 10,000 images with a shorter side of 256 pixels take."""
_AT_ONCE = 200_000


def label_id(number: int) -> str:
    """A LabelName as long as the real ones."""
    return f"/m/0{number:05x}"


def drawn_rows(split: str, scale: float) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yields images, labels and findings of some rows, image by image; common labels are common."""
    random = np.random.default_rng(0)
    count = int(IMAGES[split] * scale)
    for first in range(0, count, _AT_ONCE):
        size = min(_AT_ONCE, count - first)
        numbers = np.sort(random.integers(2**64, size=size, dtype=np.uint64))
        times = 1 + random.poisson(VERIFIED[split] / IMAGES[split] - 1, size)
        images = np.repeat(numbers, times)
        labels = (NUM_LABELS * random.random(len(images)) ** 3).astype(np.uint32)
        yield images, labels, random.random(len(images)) < 0.35


def lay_out(root: Path, scale: float) -> None:
    """Writes the official files."""
    ids = [label_id(number) for number in range(NUM_LABELS)]
    (root / "oidv6-classes-trainable.txt").write_text("\n".join(ids) + "\n")
    rows = ["LabelName,DisplayName", *(f"{name},Label {name[4:]}" for name in ids)]
    (root / "oidv6-class-descriptions.csv").write_text("\n".join(rows) + "\n")
    hexadecimal = np.frombuffer(b"0123456789abcdef", np.uint8)
    names = np.array(ids, "S9").view(np.uint8).reshape(-1, 9)
    for split in IMAGES:
        prefix = "oidv6-" if split == "train" else ""
        with (root / f"{prefix}{split}-annotations-human-imagelabels.csv").open("wb") as file:
            file.write(b"ImageID,Source,LabelName,Confidence\n")
            for images, labels, present in drawn_rows(split, scale):
                text = np.tile(
                    np.frombuffer(b"0" * 16 + b",verification,/m/000000,0\n", np.uint8),
                    (len(images), 1),
                )
                for digit in range(16):
                    shifted = (images >> np.uint64(60 - 4 * digit)) & np.uint64(15)
                    text[:, digit] = hexadecimal[shifted.astype(np.intp)]
                text[:, 30:39] = names[labels]
                text[:, 40] = ord("0") + present
                file.write(text.tobytes())


def pretend_images(data: OpenImagesDataModule) -> None:
    """Marks all images of the index as there."""
    for index in data.index.splits.values():
        np.save(index.folder / "place.npy", np.zeros(len(index), np.uint8))


def lay_out_shards(root: Path, folder: Path) -> None:
    """Writes shards of the images of an index: real targets, and files that are holes."""
    data = OpenImagesDataModule(str(root))
    record: dict[str, Any] = {
        "names": data.vocabulary.names,
        "roles": data.vocabulary.roles,
        "fingerprint": data.fingerprint,
        "images_per_shard": PER_SHARD,
        "splits": {},
    }
    for split, index in data.index.splits.items():
        starts = range(0, len(index), PER_SHARD)
        for number in range(len(starts)):
            with (folder / shard_name(split, number)).open("wb") as file:
                file.truncate(SHARD_BYTES)
        record["splits"][split] = {
            "images": len(index),
            "omitted": 0,
            "fingerprint": "",
            "shards": [SHARD_BYTES] * len(starts),
        }
        (folder / split).mkdir()
        start = time.perf_counter()
        _write_index(folder / split, _parts(index.targets, starts))
        print(f"shards' index of {split}: {time.perf_counter() - start:.1f} s", flush=True)
    (folder / "shards.json").write_text(json.dumps(record))


def _parts(targets: SparseTargets, starts: Iterable[int]) -> Iterator[dict[str, np.ndarray]]:
    """Yields the indexes of the shards that begin at these images."""
    for first in starts:
        ends = targets.ends[first : first + PER_SHARD]
        begin = targets.ends[first - 1] if first else 0
        listed = slice(begin, ends[-1])
        block = TargetBlock(
            np.diff(ends, prepend=begin),
            targets.rest[first : first + PER_SHARD],
            targets.columns[listed],
            targets.values[listed],
        )
        sizes = np.full(len(ends), 50_000)
        offsets = 512 + np.arange(len(ends)) * (SHARD_BYTES // PER_SHARD)
        yield {"offsets": offsets, "sizes": sizes, **block._asdict()}


def resident() -> float:
    """Memory of this process in MB, the files it has mapped included as far as they were read."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def peak() -> float:
    """The most memory that this process had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def open_data(kind: str, root: str) -> MultiLabelDataModule:
    """Opens the data for training, without pixels."""
    pixel = torch.zeros(3, 1, 1, dtype=torch.uint8)
    for dataset in (OpenImagesDataset, ShardDataset):
        setattr(dataset, "pixels", lambda self, index, min_side: pixel)  # noqa: B010
    kinds: dict[str, type] = {"index": OpenImagesDataModule, "shards": ShardsDataModule}
    return kinds[kind](root, images=ImageConfig(1), batch_size=64, num_workers=0)


def measure(kind: str, root: str) -> dict[str, float]:
    """Opens the data, and loads targets from the start of an epoch and from its middle."""
    found = {"MB of imports": resident()}
    start = time.perf_counter()
    data = open_data(kind, root)
    found["s to open"] = time.perf_counter() - start
    found["MB opened"] = resident()
    start = time.perf_counter()
    data.setup("fit")
    found["s to set up"] = time.perf_counter() - start
    start = time.perf_counter()
    loader = data.train_dataloader()
    batches = iter(loader)
    next(batches)
    found["s to first batch"] = time.perf_counter() - start
    start = time.perf_counter()
    for _ in range(200):
        next(batches)
    found["ms a batch of 64"] = (time.perf_counter() - start) / 200 * 1000
    found["MB in training"] = resident()
    del batches
    data._num_batches_done = len(loader) // 2
    start = time.perf_counter()
    next(iter(data.train_dataloader()))
    found["s to resume in mid-epoch"] = time.perf_counter() - start
    start = time.perf_counter()
    data.train_dataset.has_label(slice(None))
    found["s to find images with a label"] = time.perf_counter() - start
    found["MB at most"] = peak()
    return found


def make_index(root: str) -> dict[str, float]:
    """Makes the index."""
    before, start = resident(), time.perf_counter()
    data = OpenImagesDataModule(root)
    seconds = time.perf_counter() - start
    size = sum(path.stat().st_size for path in data.index.folder.rglob("*") if path.is_file())
    found = {"s": seconds, "MB of imports": before, "MB at most": peak(), "MB on disk": size / 1e6}
    pretend_images(data)
    return found | {
        f"{split} images": float(len(index)) for split, index in data.index.splits.items()
    }


def measure_metrics(root: str, num_labels: int) -> dict[str, float]:
    """Exact average precision of the first labels on the test split."""
    data = OpenImagesDataModule(root)
    test = data.dataset(Split.TEST, data.evaluation_transform)
    start = time.perf_counter()
    targets = torch.empty((len(test), num_labels), dtype=torch.int8)
    for row in range(len(test)):
        targets[row] = test.target(row)[:num_labels]
    collected = time.perf_counter() - start
    scores = torch.randn(targets.shape, generator=torch.Generator().manual_seed(0))
    before = resident()
    start = time.perf_counter()
    precision = average_precision(scores, targets)
    return {
        "images": float(len(test)),
        "labels": float(num_labels),
        "labels with a positive": float((~precision.isnan()).sum()),
        "s to collect targets": collected,
        "s for AP": time.perf_counter() - start,
        "MB of scores and targets": (scores.nbytes + targets.nbytes) / 1e6,
        "MB before": before,
        "MB at most": peak(),
    }


def in_own_process(*arguments: str) -> None:
    """Runs one of the measurements above in a new process and prints what it found."""
    command = [sys.executable, __file__, "--measure", *arguments]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = json.loads(output.split("RESULT")[1].splitlines()[0])
    print(arguments[0])
    for name, value in found.items():
        print(f"  {value:>14,.2f} {name}", flush=True)


def main() -> None:
    """Lays the data out and prints what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--labels_measured", type=int, default=1000)
    parser.add_argument("--folder", help="Where temporary files go.")
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        what, root, *more = options.measure
        work: dict[str, Any] = {
            "making the index": lambda: make_index(root),
            "index": lambda: measure("index", root),
            "shards": lambda: measure("shards", root),
            "metrics": lambda: measure_metrics(root, int(more[0])),
        }
        print("RESULT" + json.dumps(work[what]()))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        root, shards = Path(folder, "openimages"), Path(folder, "shards")
        root.mkdir()
        shards.mkdir()
        start = time.perf_counter()
        lay_out(root, options.scale)
        size = sum(path.stat().st_size for path in root.iterdir()) / 1e9
        print(f"laid out {size:.2f} GB in {time.perf_counter() - start:.0f} s", flush=True)
        in_own_process("making the index", str(root))
        in_own_process("index", str(root))
        lay_out_shards(root, shards)
        size = sum(path.stat().st_size for path in shards.rglob("*.npy")) / 1e6
        print(f"shards' index: {size:.0f} MB on disk")
        in_own_process("shards", str(shards))
        in_own_process("metrics", str(root), str(options.labels_measured))


if __name__ == "__main__":
    main()
