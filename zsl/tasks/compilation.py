"""Whether PyTorch can compile here."""

from __future__ import annotations

import torch

from zsl.errors import InputError, reason_of


def check_compiler(device: torch.device) -> None:
    """Compiles a sum, so that what is lacking is told before the training.

    Raises:
        InputError: It can't be compiled for this device.
    """
    try:
        torch.compile(_plus_one)(torch.zeros(8, device=device))
    except (ImportError, RuntimeError) as error:
        raise InputError(
            f"compile is true, but PyTorch can't compile for {device.type} here "
            f"({reason_of(error)}); install a C++ compiler (g++), and on a GPU triton, or leave "
            "compile out."
        ) from error


def _plus_one(values: torch.Tensor) -> torch.Tensor:
    return values + 1
