"""Reading pickles of arrays without executing anything in them.

No library does it: numpy and joblib run what a pickle asks for, picklescan only looks. ML-Decoder's
published GloVe vectors are such a file.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import IO, Any

from zsl.errors import InputError, reason_of

_ARRAYS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
    *((f"numpy.{core}.multiarray", "scalar") for core in ("core", "_core")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
    ("_codecs", "encode"),
}


class _Unpickler(pickle.Unpickler):
    """Makes nothing but arrays and plain values."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        super().__init__(file, encoding="latin1")
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ARRAYS:
            raise InputError(
                f"{self.path} asks for {module}.{name}, which no file of arrays needs: it may try "
                "to run code, and is not read."
            )
        return super().find_class(module, name)


def read_pickled_arrays(path: Path) -> Any:
    """Reads a pickle that holds arrays in lists and dictionaries.

    Raises:
        InputError: It holds anything else, or is damaged.
    """
    with path.open("rb") as file:
        try:
            return _Unpickler(file, path).load()
        except InputError:
            raise
        except Exception as error:  # Damaged files fail in many ways.
            raise InputError(
                f"{path} can't be read as a pickle of arrays: {reason_of(error)}"
            ) from error
