"""What files of a backbone's tokens have in common: their precision, and what they depend on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from zsl.errors import require


def as_float16(tokens: Tensor) -> Tensor:
    """Returns tokens as they are kept: float16, on the CPU.

    Raises:
        InputError: They are not finite in float16.
    """
    rows = tokens.half().cpu()
    require(
        bool(torch.isfinite(rows).all()),
        "The backbone's tokens are not all finite numbers in float16; take other weights.",
    )
    return rows


def differences(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> tuple[str, str]:
    """Compares what tokens were made with and what is in use, for a message.

    >>> differences({"stride": 16, "weights": "1f"}, {"stride": 8, "weights": "2e"})
    ('stride 16', 'stride 8')

    Returns:
        What differs, as it was and as it is; two empty texts where nothing does.
    """
    different = [name for name in wanted if wanted[name] != stored.get(name)]
    # Another architecture has other weights anyway.
    different = [name for name in different if name != "weights"] or different
    made = ", ".join(f"{name} {stored.get(name)}" for name in different)
    return made, ", ".join(f"{name} {wanted[name]}" for name in different)
