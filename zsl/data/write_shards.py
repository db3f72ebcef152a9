"""Writing a data set as shards, shard by shard, so that a killed run can go on."""

from __future__ import annotations

import json
import tarfile
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from zsl.data.datamodule import MultiLabelDataModule
from zsl.data.dataset import MultiLabelDataset
from zsl.data.shards import RECORD, check_shards, read_record, shard_name
from zsl.data.sparse_targets import SparseTargets, TargetBlock
from zsl.data.split import Split
from zsl.errors import InputError, require
from zsl.files.arrays import ArrayWriter
from zsl.files.atomic import atomic_folder, atomic_path, write_atomically
from zsl.process_group import ALONE, ProcessGroup

_PLAN = "plan.json"
"""What is being written; it is removed when all is."""
_PARTS = ("bytes", "offsets", "sizes", *TargetBlock._fields)


def write_shards(
    data: MultiLabelDataModule, folder: Path, images_per_shard: int, group: ProcessGroup = ALONE
) -> None:
    """Writes all splits of a data set as shards; shards that are there and whole are kept.

    Args:
        data: The data set. Targets are as it trains on them.
        folder: Where to: a new folder, or one in which the same was begun.
        images_per_shard: Images in a shard; the last of a split has the rest.
        group: Processes that take turns at the shards, in a folder that all of them see.

    Raises:
        InputError: The folder holds something else, or an image can't be read.
    """
    require(images_per_shard >= 1, f"images_per_shard is {images_per_shard}; expected 1 or more.")
    require(
        len(data.vocabulary) <= 2**16,
        f"There are {len(data.vocabulary):,} labels; shards hold at most 65,536.",
    )
    datasets = {split: data.dataset(split, data.evaluation_transform) for split in Split}
    plan = {
        "names": data.vocabulary.names,
        "roles": data.vocabulary.roles,
        "fingerprint": data.fingerprint,
        "images_per_shard": images_per_shard,
        "images": {split: len(dataset) for split, dataset in datasets.items()},
    }
    is_done = _begin(folder, plan) if group.is_first else False
    if group.of_first(is_done):
        return
    splits = {}
    for split, dataset in datasets.items():
        writer = _ShardWriter(folder, split, dataset, data.vocabulary.names, images_per_shard)
        if not group.is_first:
            deque(group.flat_map(writer.write, ()), maxlen=0)
            continue
        splits[split] = {
            "images": len(dataset),
            "omitted": data.omitted(split),
            "fingerprint": dataset.images_fingerprint(),
            "shards": _write_split(writer, group),
        }
    if not group.is_first:
        return
    record = {**plan, "splits": splits}
    write_atomically(folder / RECORD, json.dumps(record).encode())
    for path in (*folder.glob("*.npz"), folder / _PLAN):
        path.unlink()


def _begin(folder: Path, plan: dict[str, Any]) -> bool:
    """Writes down the plan where there is none, and compares it; returns whether all is done."""
    if (folder / RECORD).is_file():
        record = read_record(folder)
        _check_plan(folder, {name: record.get(name) for name in plan}, plan)
        for split in Split:
            check_shards(folder, split, record["splits"][split]["shards"])
        return True
    path = folder / _PLAN
    if path.is_file():
        _check_plan(folder, json.loads(path.read_text(encoding="utf-8")), plan)
        return False
    require(
        not folder.exists() or (folder.is_dir() and not any(folder.iterdir())),
        f"{folder} exists and holds no shards; name a folder that does not exist.",
    )
    write_atomically(path, json.dumps(plan).encode())
    return False


def _check_plan(folder: Path, found: dict[str, Any], plan: dict[str, Any]) -> None:
    for name, value in plan.items():
        require(
            found.get(name) == value,
            f"{folder} holds shards of other data or settings ({name.replace('_', ' ')} differs); "
            "give the same arguments as before, or name another folder.",
        )


def _write_split(writer: _ShardWriter, group: ProcessGroup) -> list[int]:
    """Has the shards of a split written that are missing, then its index; returns their sizes."""
    folder, split = writer.folder, writer.split
    numbers = range(-(-len(writer.images) // writer.per_shard))
    missing = [number for number in numbers if _part(folder, split, number) is None]
    todo = sum(len(writer.rows(number)) for number in missing)
    total = len(writer.images)
    with tqdm(
        total=total, initial=total - todo, desc=f"{split} shards", unit=" images"
    ) as progress:
        for _ in group.flat_map(writer.write, missing):
            progress.update()
    sizes = []

    def parts() -> Iterator[dict[str, np.ndarray]]:
        for number in numbers:
            part = _part(folder, split, number)
            if part is None:
                raise InputError(
                    f"The shard {folder / shard_name(split, number)} was changed while the others "
                    "were written; run this again."
                )
            sizes.append(int(part["bytes"]))
            yield part

    with atomic_folder(folder / split) as temporary:
        _write_index(temporary, parts())
    return sizes


def _part(folder: Path, split: str, number: int) -> dict[str, np.ndarray] | None:
    """Returns the index of a shard, or None where the shard is not there as it was written."""
    path = folder / shard_name(split, number)
    with suppress(OSError, ValueError, KeyError, EOFError):
        with np.load(path.with_suffix(".npz")) as file:
            part = {name: file[name] for name in _PARTS}
        if path.stat().st_size == part["bytes"]:
            return part
    return None


@dataclass(frozen=True)
class _ShardWriter:
    """Writes single shards of a split."""

    folder: Path
    split: Split
    images: MultiLabelDataset
    names: list[str]
    per_shard: int

    def rows(self, number: int) -> range:
        """The images of a shard, by their positions."""
        start = number * self.per_shard
        return range(start, min(start + self.per_shard, len(self.images)))

    def write(self, number: int) -> Iterator[int]:
        """Writes a shard with its index; yields the position of each image that is in it."""
        offsets, sizes, blocks = [], [], []
        path = self.folder / shard_name(self.split, number)
        with atomic_path(path) as temporary:
            # This format has headers of one block, of whatever length the names are.
            with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
                for row in self.rows(number):
                    content, suffix = self.images.encoded(row)
                    block = TargetBlock.of([self.images.target(row).numpy()])
                    offsets.append(_add(tar, f"{row:09d}{suffix or '.img'}", content))
                    described = json.dumps(_described(block, self.names)).encode()
                    _add(tar, f"{row:09d}.json", described)
                    sizes.append(len(content))
                    blocks.append(block)
                    yield row
            size = temporary.stat().st_size
        targets = [np.concatenate(arrays) for arrays in zip(*blocks, strict=True)]
        part = zip(_PARTS, (size, offsets, sizes, *targets), strict=True)
        buffer = BytesIO()
        np.savez(buffer, **dict(part))  # type: ignore[arg-type]
        write_atomically(path.with_suffix(".npz"), buffer.getvalue())


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> int:
    """Adds a file; returns where its content begins."""
    header = tarfile.TarInfo(name)
    header.size = len(content)
    begin = tar.offset + tarfile.BLOCKSIZE
    tar.addfile(header, BytesIO(content))
    return begin


def _described(block: TargetBlock, names: list[str]) -> dict[str, Any]:
    """What the JSON beside an image says: its labels, for people and other programs."""
    others, rest = ("absent", "unknown") if block.rest[0] == 0 else ("unknown", "absent")
    named = [
        (names[column], value) for column, value in zip(block.columns, block.values, strict=True)
    ]
    return {
        "present": [name for name, value in named if value == 1],
        rest: [name for name, value in named if value != 1],
        "others": others,
    }


def _write_index(folder: Path, parts: Iterator[dict[str, np.ndarray]]) -> None:
    """Writes the index of a split from those of its shards, with one of them in memory."""
    with ExitStack() as stack:
        offsets, sizes = (
            stack.enter_context(ArrayWriter.create(folder / f"{name}.npy", "i8"))
            for name in ("offsets", "sizes")
        )

        def blocks() -> Iterator[TargetBlock]:
            for part in parts:
                offsets.write(part["offsets"])
                sizes.write(part["sizes"])
                yield TargetBlock(*(part[name] for name in TargetBlock._fields))

        SparseTargets.write(folder, blocks())
