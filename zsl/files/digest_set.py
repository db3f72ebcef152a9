"""A set of texts of which millions fit into memory."""

from __future__ import annotations

import hashlib

import numpy as np

_BYTES = 16
_MOST_NEW = 100_000


class DigestSet:
    """A set of texts, such as paths, that keeps a digest of 16 bytes of each.

    Most lie sorted in an array; new ones are put there once they are as many as a quarter of it, so
    10 million texts take from 0.2 to 0.4 GB. Two of so many have the same digest with a probability
    of 1e-25.
    """

    def __init__(self) -> None:
        self._sorted = np.empty(0, f"S{_BYTES}")
        self._new: set[bytes] = set()

    def __len__(self) -> int:
        """Number of texts."""
        return len(self._sorted) + len(self._new)

    def __contains__(self, text: str) -> bool:
        """Whether a text was added."""
        return self._has(_digest(text))

    def add(self, text: str) -> bool:
        """Adds a text; returns whether it was not there."""
        digest = _digest(text)
        if self._has(digest):
            return False
        self._new.add(digest)
        if len(self._new) >= max(_MOST_NEW, len(self._sorted) // 4):
            self._sorted = np.concatenate([self._sorted, np.array([*self._new], f"S{_BYTES}")])
            self._sorted.sort()
            self._new.clear()
        return True

    def _has(self, digest: bytes) -> bool:
        if digest in self._new:
            return True
        index = int(self._sorted.searchsorted(digest))
        return index < len(self._sorted) and self._sorted[index] == digest


def _digest(text: str) -> bytes:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=_BYTES).digest()
    # As numpy returns it, for which the zeros at the end are filling.
    return digest.rstrip(b"\0")
