"""Label vectors from a file: matrices with their lists of names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file

from zsl.errors import InputError, did_you_mean, others, reason_of
from zsl.files.digests import bytes_digest
from zsl.files.label_lists import read_lines
from zsl.files.safe_pickle import read_pickled_arrays
from zsl.labels.encoders.cache import Embedded
from zsl.labels.encoders.encoder import LabelEncoder, Scale


class LabelMatrix(LabelEncoder):
    """Takes label vectors from a file of one or more matrices.

    A matrix has a label in each row or, like ML-Decoder's `wordvec_array.pth`, in each column: the
    number of names tells. Nothing in the file is executed.

    Args:
        path: `.npz`, `.safetensors`, a tensor saved by torch (`.pth`, `.pt`), or a pickle of arrays
            (`.pkl`, `.pickle`).
        names: Text files with a name a line, one for each matrix in the order of the file. None
            takes the array `names` of the file itself.
        scale: Scale of the result: `unit_norm`, `unit_variance`, or None to leave it.
    """

    def __init__(
        self, path: str, names: str | list[str] | None = None, scale: Scale | None = None
    ) -> None:
        super().__init__(scale)
        lists = [names] if isinstance(names, str) else names
        self.path = str(Path(path).resolve())
        self.names = None if lists is None else [str(Path(file).resolve()) for file in lists]

    @property
    def arguments(self) -> dict[str, Any]:
        """The files."""
        return {"path": self.path, "names": self.names}

    @property
    def files(self) -> list[Path]:
        """The matrices and the lists of their names."""
        return [Path(file) for file in (self.path, *(self.names or ()))]

    def embed(self, names: Sequence[str]) -> Embedded:
        """Reads the file and picks the rows of the names."""
        matrices, lists = self._read()
        vectors: dict[str, np.ndarray] = {}
        origins: dict[str, str] = {}
        empty: list[str] = []
        again: dict[str, str] = {}
        for number, (matrix, own) in enumerate(zip(matrices, lists, strict=True), 1):
            for row, name in enumerate(own):
                where = f"{self._list(number)}, line {row + 1}"
                if not name:
                    empty.append(where)
                # Not `refuse_repeated`: NUS-WIDE's matrices share names with equal vectors.
                elif name in vectors and not np.array_equal(vectors[name], matrix[row]):
                    again.setdefault(name, where)
                vectors.setdefault(name, matrix[row])
                origins.setdefault(name, f"row {row + 1} of matrix {number}")
        if empty:
            raise InputError(f"{empty[0]}: the name is empty." + others(empty))
        if again:
            name, where = next(iter(again.items()))
            raise InputError(
                f"{where}: {name!r} is there twice with two vectors, first at {origins[name]}; "
                "keep one of them." + others(again)
            )
        unknown = [name for name in names if name not in vectors]
        if unknown:
            raise InputError(
                f"{self.path} has no vector for the label {unknown[0]!r} among its {len(vectors)}."
                + did_you_mean(unknown[0], vectors)
                + others(unknown)
            )
        fingerprint = bytes_digest(
            "\n".join(own).encode() + np.ascontiguousarray(matrix).tobytes()
            for matrix, own in zip(matrices, lists, strict=True)
        )
        rows = torch.from_numpy(np.stack([vectors[name] for name in names]))
        return Embedded(rows, [origins[name] for name in names], fingerprint)

    def _list(self, number: int) -> str:
        return self.names[number - 1] if self.names else f"{self.path}, names"

    def _read(self) -> tuple[list[np.ndarray], list[list[str]]]:
        """Returns the matrices, a label a row, and the names of each."""
        arrays = _read_arrays(Path(self.path))
        own = arrays.pop("names", None)
        matrices = [np.asarray(array) for array in arrays.values()]
        if self.names is None:
            if own is None:
                raise InputError(
                    f"{self.path} holds no array called names; set encoder.names to a text file "
                    "with the name of each label."
                )
            texts = np.asarray(own).tolist()
            lists = [[(t.decode() if isinstance(t, bytes) else str(t)).strip() for t in texts]]
        else:
            lists = [read_lines(Path(file)) for file in self.names]
        if len(lists) != len(matrices):
            raise InputError(
                f"{self.path} holds {len(matrices)} matrices, but there are {len(lists)} lists of "
                "names; one is needed for each."
            )
        pairs = zip(matrices, lists, strict=True)
        rows = [self._by_row(m, names, n) for n, (m, names) in enumerate(pairs, 1)]
        if len({matrix.shape[1] for matrix in rows}) > 1:
            widths = ", ".join(str(matrix.shape[1]) for matrix in rows)
            raise InputError(f"The matrices of {self.path} have {widths} numbers a label.")
        return rows, lists

    def _by_row(self, matrix: np.ndarray, names: list[str], number: int) -> np.ndarray:
        if matrix.ndim != 2 or matrix.dtype.kind not in "fiu" or len(names) not in matrix.shape:
            raise InputError(
                f"Matrix {number} of {self.path} is {matrix.dtype} {matrix.shape}, but "
                f"{self._list(number)} has {len(names)} names; expected numbers with a row or a "
                "column for each."
            )
        if self.names and matrix.shape[0] == matrix.shape[1]:
            raise InputError(
                f"Matrix {number} of {self.path} is square, so its labels may be rows or columns; "
                "save it as .npz with a label a row and the array names."
            )
        return (matrix if len(matrix) == len(names) else matrix.T).astype(np.float32)


def _read_arrays(path: Path) -> dict[str, Any]:
    """Reads the arrays of a file by name, in the order of the file."""
    if not path.is_file():
        raise InputError(f"The label vectors {path} do not exist; expected a file of matrices.")
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        if path.suffix in (".pth", ".pt"):
            found = torch.load(path, map_location="cpu", weights_only=True)
            if not isinstance(found, torch.Tensor):
                raise InputError(f"{path} holds a {type(found).__name__}; expected one tensor.")
            return {"matrix": found.detach().float().numpy()}
        if path.suffix in (".pkl", ".pickle"):
            found = read_pickled_arrays(path)
            parts = found if isinstance(found, dict) else dict(enumerate(_as_list(found)))
            return {str(name): np.asarray(part) for name, part in parts.items()}
    except InputError:
        raise
    except Exception as error:  # Damaged files fail in many ways.
        raise InputError(f"{path} can't be read as matrices: {reason_of(error)}") from error
    raise InputError(
        f"{path} ends in {path.suffix!r}; expected .npz, .safetensors, .pth, .pt, .pkl or .pickle."
    )


def _as_list(found: Any) -> list[Any]:
    return list(found) if isinstance(found, list | tuple) else [found]
