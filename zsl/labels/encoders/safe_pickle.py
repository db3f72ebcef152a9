"""Reading pickles of arrays without executing anything in them."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from zsl.errors import InputError

_ARRAYS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
    *((f"numpy.{core}.multiarray", "scalar") for core in ("core", "_core")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
    ("_codecs", "encode"),
}
_KEYED_VECTORS = {
    ("gensim.models.keyedvectors", "KeyedVectors"),
    ("gensim.models.keyedvectors", "Word2VecKeyedVectors"),
    ("gensim.models.fasttext", "FastTextKeyedVectors"),
    ("collections", "OrderedDict"),
    ("collections", "defaultdict"),
}


class _Unpickler(pickle.Unpickler):
    """Makes nothing but arrays, plain values and what is allowed besides."""

    def __init__(self, file: IO[bytes], path: str, allowed: set[tuple[str, str]]) -> None:
        super().__init__(file, encoding="latin1")
        self.path, self.allowed = path, _ARRAYS | allowed

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.allowed:
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
            return _Unpickler(file, str(path), set()).load()
        except InputError:
            raise
        except Exception as error:  # Damaged files fail in many ways.
            reason = " ".join(str(error).split())
            raise InputError(f"{path} can't be read as a pickle of arrays: {reason}") from error


@contextmanager
def gensim_unpickles_safely() -> Iterator[None]:
    """Makes gensim's own loading refuse everything but vectors."""
    from gensim import utils

    def unpickle(name: str) -> Any:
        with utils.open(name, "rb") as file:
            return _Unpickler(file, name, _KEYED_VECTORS).load()

    original = utils.unpickle
    utils.unpickle = unpickle
    try:
        yield
    finally:
        utils.unpickle = original
