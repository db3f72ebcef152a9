"""What the heads compute from label vectors and parameters alone, kept between calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class _Kept(NamedTuple):
    autocast: Any
    sources: list[Tensor]
    result: Any


class QueryCache:
    """The last results of computations, with the values of all tensors that they came from.

    Values are compared, not tensors or their version counters: what writes through `.data`, such
    as a swap of averaged weights, counts no version, and label vectors are often made anew with
    the same values.
    """

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}

    def get(self, name: str, compute: Callable[[], T], sources: list[Tensor]) -> T:
        """Returns what `compute` gave for the same sources, or computes it.

        Args:
            name: Name of the computation.
            compute: Depends on the sources and the autocast state alone.
            sources: All tensors it reads.
        """
        device = sources[0].device.type
        autocast = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device)
        kept = self._kept.get(name)
        if kept and kept.autocast == autocast and _same(kept.sources, sources):
            return kept.result
        result = compute()
        copies = [source.detach().clone() for source in sources]
        self._kept[name] = _Kept(autocast, copies, result)
        return result

    def clear(self) -> None:
        """Gives the results up."""
        self._kept.clear()

    def __reduce__(self) -> tuple[type[QueryCache], tuple[()]]:
        """Copies and pickles are empty."""
        return QueryCache, ()


def _same(left: list[Tensor], right: list[Tensor]) -> bool:
    return len(left) == len(right) and all(
        one.shape == other.shape
        and one.dtype == other.dtype
        and one.device == other.device
        and torch.equal(one, other)
        for one, other in zip(left, right, strict=True)
    )
