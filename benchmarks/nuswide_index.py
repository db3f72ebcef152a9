"""Time and memory of an index of NUS-WIDE's true size.

ZSL_SHARED=/folder/with/data python benchmarks/nuswide_index.py

Lays out a copy with the official lists' sizes: 161,789 + 107,859 images, 925 drawn tags besides
the 81 concepts. With ZSL_SHARED the test list, the names and the 81 columns are the real ones. The
image files are there but empty: an index never opens them. What is measured runs in processes of
its own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

NUM_TRAIN, NUM_TEST = 161_789, 107_859


def names() -> tuple[list[str], list[str]]:
    """The 1000 tags and 81 concepts."""
    if folder := os.environ.get("ZSL_SHARED"):
        data = Path(folder) / "data" / "nuswide"
        tags, concepts = ((data / f"{f}.txt").read_text() for f in ("TagList1k", "Concepts81"))
        return tags.split(), concepts.split()
    drawn = [f"tag{number:04d}" for number in range(1000)]
    return drawn, [*drawn[:75], *(f"concept{number}" for number in range(6))]


def concept_labels(split: str, count: int, random: np.random.Generator) -> np.ndarray:
    """The ground truth (count, 81) of a split."""
    if folder := os.environ.get("ZSL_SHARED"):
        packed = np.load(Path(folder) / f"data/nuswide/labels81_{split}.npz")["labels"]
        return np.unpackbits(packed, axis=1)[:, :81]
    return (random.random((count, 81)) < 0.023).astype(np.uint8)


def image_lists(random: np.random.Generator) -> tuple[list[str], list[str]]:
    """Training and test images: training ones drawn into the folders of the test ones."""
    if folder := os.environ.get("ZSL_SHARED"):
        path = Path(folder) / "data/nuswide/TestImagelist.txt"
        test = [line.replace("\\", "/") for line in path.read_text().split()]
    else:
        test = [f"f{n % 704:03d}/{n // 704:04d}_{4_000_000_000 + n}.jpg" for n in range(NUM_TEST)]
    folders = sorted({name.split("/")[0] for name in test})
    chosen = random.integers(len(folders), size=NUM_TRAIN)
    train = [f"{folders[c]}/{n % 10_000:04d}_{5_000_000_000 + n}.jpg" for n, c in enumerate(chosen)]
    return train, test


def lay_out(root: Path) -> None:
    """Writes the official layout."""
    random = np.random.default_rng(0)
    tags, concepts = names()
    frequency = 0.06 * (np.arange(1, 1001) ** -0.6)  # About four tags an image.
    train, test = image_lists(random)
    for name, lines in {
        "ImageList/TrainImagelist.txt": [line.replace("/", "\\") for line in train],
        "ImageList/TestImagelist.txt": [line.replace("/", "\\") for line in test],
        "NUS_WID_Tags/TagList1k.txt": tags,
        "ConceptsList/Concepts81.txt": concepts,
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("\r\n".join(lines) + "\r\n")
    truth = root / "Groundtruth/TrainTestLabels"
    truth.mkdir(parents=True)
    for split, images in (("Train", train), ("Test", test)):
        with (root / f"NUS_WID_Tags/{split}_Tags1k.dat").open("wb") as file:
            for start in range(0, len(images), 5000):
                count = min(5000, len(images) - start)
                rows = np.full((count, 2001), ord(" "), dtype=np.uint8)
                rows[:, 0:2000:2] = ord("0") + (random.random((count, 1000)) < frequency)
                rows[:, 2000] = ord("\n")
                file.write(rows.tobytes())
        labels = concept_labels(split.lower(), len(images), random)
        for concept, column in zip(concepts, labels.T, strict=True):
            np.savetxt(truth / f"Labels_{concept}_{split}.txt", column, fmt="%d")
        for image in images:
            path = root / "Flickr" / image
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


def memory(pid: int | str, field: str) -> float:
    """A field of a process's memory in MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(field)) / 1000


def measure_open(root: str) -> None:
    """Opens the data twice in this process: the first time makes the index if it is missing."""
    import resource

    import torch

    from zsl.data import NUSWideDataModule

    before = memory("self", "Rss")
    start = time.perf_counter()
    data = NUSWideDataModule(root)
    seconds = time.perf_counter() - start
    opened = memory("self", "Rss")
    data.setup("fit")
    target = torch.zeros(len(data.vocabulary), dtype=torch.int64)
    start = time.perf_counter()
    for index in range(0, len(data.train_dataset), 10):
        target += data.train_dataset.target(index)
    per_target = (time.perf_counter() - start) / len(range(0, len(data.train_dataset), 10))
    result = {
        "seconds": seconds,
        "rss_imports": before,
        "rss_opened": opened,
        "rss_peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
        "microseconds_per_target": 1e6 * per_target,
        "vocabulary": repr(data.vocabulary),
        "images": [len(data.rows[split]) for split in data.rows],
        "index_mb": data.index.path.stat().st_size / 1e6,
    }
    print("RESULT" + json.dumps(result))


def measure_workers(root: str) -> None:
    """Private memory of loader processes after a pass, beside those of a loader of nothing."""
    import multiprocessing

    import torch
    from torch.utils.data import Dataset

    from zsl.data import ImageConfig, NUSWideDataModule
    from zsl.data.nuswide.datamodule import NUSWideDataset

    class Nothing(Dataset):
        def __len__(self) -> int:
            return 153_700

        def __getitem__(self, index: int) -> torch.Tensor:
            return torch.zeros(1006, dtype=torch.int8)

    # The pixels are left out: a pass of targets alone.
    pixel = torch.zeros(3, 1, 1, dtype=torch.uint8)
    setattr(NUSWideDataset, "pixels", lambda self, index, min_side: pixel)  # noqa: B010
    data = NUSWideDataModule(root, num_workers=2, batch_size=56, images=ImageConfig(1))
    data.setup("fit")
    result: dict[str, Any] = {}
    loaders = {"nothing": torch.utils.data.DataLoader(Nothing(), 56, num_workers=2)}
    loaders["index"] = data.train_dataloader()
    for name, loader in loaders.items():
        batches = iter(loader)
        for number, _ in enumerate(batches):
            if number == len(loader) - 8:  # Before the processes end.
                children = multiprocessing.active_children()
                result[name] = [memory(child.pid, "Private") for child in children if child.pid]
        del batches
    print("RESULT" + json.dumps(result))


def in_own_process(what: str, root: str) -> dict[str, Any]:
    """Runs one of the measurements above in a new process."""
    command = [sys.executable, __file__, "--measure", what, "--root", root]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output.split("RESULT")[1].splitlines()[0])


def main() -> None:
    """Lays the copy out and prints what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", choices=["open", "workers"])
    parser.add_argument("--root")
    options = parser.parse_args()
    if options.measure:
        {"open": measure_open, "workers": measure_workers}[options.measure](options.root)
        return
    with tempfile.TemporaryDirectory() as root:
        start = time.perf_counter()
        lay_out(Path(root))
        print(f"laid out in {time.perf_counter() - start:.0f} s", flush=True)
        for what in ("made", "opened", "opened again"):
            found = in_own_process("open", root)
            print(
                f"{what}: {found['seconds']:.2f} s; resident {found['rss_opened']:.0f} MB "
                f"(imports {found['rss_imports']:.0f}), peak {found['rss_peak']:.0f} MB; "
                f"{found['microseconds_per_target']:.0f} µs a target",
                flush=True,
            )
        print(f"{found['vocabulary']}, images {found['images']}, index {found['index_mb']:.1f} MB")
        workers = in_own_process("workers", root)
        for name, values in workers.items():
            print(f"private MB of loader processes, {name}: {[round(value) for value in values]}")


if __name__ == "__main__":
    main()
