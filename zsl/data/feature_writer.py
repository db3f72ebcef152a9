"""Writing a feature store, which goes on after a stop."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any, Self

import numpy as np
from torch import Tensor

from zsl.data.dataset import MultiLabelDataset
from zsl.data.feature_store import RECORD
from zsl.data.split import Split
from zsl.errors import InputError
from zsl.files.atomic import atomic_folder, sync_to_disk, write_atomically
from zsl.files.folders import sole_writer
from zsl.files.tokens import as_float16

_LOCK = "lock"


class FeatureWriter:
    """Writes a feature store, in a folder beside it until it is whole.

    After a stop at any moment the next one goes on there, if the store is of the same tokens.

    Args:
        folder: The folder beside it.
        backbone: What the tokens are made with, plain values.
        views: Number of views of a training image, and how they vary.
    """

    def __init__(self, folder: Path, backbone: dict[str, Any], views: dict[str, Any]) -> None:
        self.folder = folder
        self.record: dict[str, Any] = {"backbone": backbone, "views": views, "images": {}}
        with suppress(OSError, ValueError, LookupError):
            found = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            if (found["backbone"], found["views"]) == (backbone, views):
                self.record = found

    @classmethod
    @contextmanager
    def create(
        cls, folder: str | Path, backbone: dict[str, Any], views: dict[str, Any]
    ) -> Iterator[Self]:
        """Yields a writer; the folder is there, in place of an older store, once the block is left.

        Raises:
            InputError: The folder exists and is not a feature store, or another process writes it.
        """
        folder = Path(folder)
        if folder.exists() and not (folder / RECORD).is_file():
            raise InputError(
                f"{folder} exists and is not a feature store; name a folder that does not exist."
            )
        unfinished = folder.with_name(f".{folder.name}.unfinished")
        unfinished.mkdir(parents=True, exist_ok=True)
        in_use = (
            f"{folder} is being written by another process; wait for its end, or name another "
            "folder."
        )
        with sole_writer(unfinished / _LOCK, in_use):
            # As plain values: a tuple comes back from the file as a list.
            writer = cls(unfinished, *json.loads(json.dumps([backbone, views])))
            try:
                yield writer
            finally:
                if "token_shape" not in writer.record:
                    shutil.rmtree(unfinished)  # Nothing was made.
            names = [*(f"{split}.npy" for split in writer.record["images"]), RECORD]
            for name in names:
                sync_to_disk(unfinished / name)
            with atomic_folder(folder) as temporary:
                for name in names:
                    (unfinished / name).rename(temporary / name)
            shutil.rmtree(unfinished)

    def begin(
        self, split: Split, images: MultiLabelDataset, num_views: int, batch_size: int
    ) -> int:
        """Begins a split, or goes on with it; its tokens follow in its order, view by view.

        Args:
            split: Which.
            images: Its N images.
            num_views: Number V of views of each.
            batch_size: Images in a batch; what is left of a batch that was cut is made again.

        Returns:
            How many of the V · N rows are there.
        """
        fingerprint = images.images_fingerprint()
        is_same = self.record["images"].get(split) == fingerprint
        self.record["images"][split] = fingerprint
        self._path = self.folder / f"{split}.npy"
        self._num_rows = num_views * len(images)
        done = self._rows_there() if is_same else 0
        done -= done % len(images) % batch_size
        if not done:
            self._path.unlink(missing_ok=True)
        elif done < self._num_rows:
            os.truncate(self._path, len(self._header()) + done * self._row_size)
        self._write_record()
        return done

    def write(self, tokens: Tensor) -> None:
        """Writes the tokens (B, T, C) of the next images.

        Raises:
            InputError: They are not finite in float16.
        """
        rows = as_float16(tokens).numpy()
        if "token_shape" not in self.record:
            self.record["token_shape"] = list(rows.shape[1:])
            self._write_record()
        # Not mapped into memory: there a full disk would end the process.
        with self._path.open("ab") as file:
            if not file.tell():
                file.write(self._header())
            file.write(np.ascontiguousarray(rows).data)

    def _header(self) -> bytes:
        """What the file of the split begins with, as numpy writes it."""
        header = BytesIO()
        shape = (self._num_rows, *self.record["token_shape"])
        described = {"descr": "<f2", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(header, described)
        return header.getvalue()

    def _rows_there(self) -> int:
        if "token_shape" not in self.record or not self._path.is_file():
            return 0
        header = self._header()
        with self._path.open("rb") as file:
            if file.read(len(header)) != header:
                return 0
        return (self._path.stat().st_size - len(header)) // self._row_size

    @property
    def _row_size(self) -> int:
        return 2 * prod(self.record["token_shape"])

    def _write_record(self) -> None:
        write_atomically(self.folder / RECORD, json.dumps(self.record, indent=2).encode())
