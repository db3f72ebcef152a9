"""A tagger as one file for other programs, and the check that it scores as in PyTorch."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim

from zsl.errors import InputError, reason_of, require

Format = Literal["onnx", "torch_export"]
FILE_NAMES: dict[Format, str] = {"onnx": "model.onnx", "torch_export": "model.pt2"}
INPUTS = ["images", "queries"]
TOLERANCE = 1e-4

_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
# Before, the exporter fails on batch normalisation.
_LEAST_TORCH = "2.7"
# Protocol buffers end at 2 GB; what is above goes to a second file.
_ONE_FILE = 1_900_000_000
_MOST = 2**24
_NUM_TRACED_IMAGES, _NUM_TRACED_LABELS = 2, 3


class BakedTagger(nn.Module):
    """A tagger that is always asked the same labels.

    Args:
        tagger: Images and label vectors to logits.
        queries: (L, W) vectors of these labels.
    """

    queries: Tensor

    def __init__(self, tagger: nn.Module, queries: Tensor) -> None:
        super().__init__()
        self.tagger = tagger
        self.register_buffer("queries", queries)

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits (B, L) of images (B, 3, S, S)."""
        return self.tagger(images, self.queries)


class OpenTagger(nn.Module):
    """A tagger with its label vectors as an argument of their own, as exporters want them.

    Args:
        tagger: Images and label vectors to logits.
    """

    def __init__(self, tagger: nn.Module) -> None:
        super().__init__()
        self.tagger = tagger

    def forward(self, images: Tensor, queries: Tensor) -> Tensor:
        """Returns logits (B, L) of images (B, 3, S, S) for label vectors (L, W)."""
        return self.tagger(images, queries)


class Difference(NamedTuple):
    """How far an exported model is from the one in PyTorch."""

    largest: float
    """Of two logits."""
    largest_logit: float
    """In magnitude, of PyTorch's."""

    @property
    def is_small(self) -> bool:
        """At most `TOLERANCE`, of 1 or of the largest logit where that is more.

        A frozen backbone rounds its tokens to float16, where the last bit of float32 can decide
        on the next step up or down.
        """
        return self.largest <= TOLERANCE * max(1.0, self.largest_logit)


def check_packages() -> None:
    """Refuses ONNX where what it needs is not installed.

    Raises:
        InputError: A package is missing, or PyTorch is too old.
    """
    require(
        torch.__version__ >= _LEAST_TORCH,
        f"--format onnx needs torch {_LEAST_TORCH} or newer, this is {torch.__version__}; upgrade "
        "it, or take --format torch_export.",
    )
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise InputError(
            f"--format onnx needs {', '.join(missing)}; install with pip install 'zsl[export]'."
        )


@torch.no_grad()
def export_tagger(
    tagger: nn.Module, queries: Tensor, baked: bool, image_size: int, path: Path, kind: Format
) -> Difference:
    """Writes a tagger in evaluation mode to a file, and compares that with it.

    Args:
        tagger: Images uint8 (B, 3, S, S) and label vectors (L, W) to logits (B, L).
        queries: (L, W) label vectors.
        baked: Builds these vectors in; otherwise they are an input.
        image_size: Side S of the images.
        path: Of the file; ONNX puts weights of 2 GB and more into a second one beside it.
        kind: Format of the file.

    Raises:
        InputError: The format can't hold this model.
    """
    model = (BakedTagger(tagger, queries) if baked else OpenTagger(tagger)).eval()
    traced = [_random_images(_NUM_TRACED_IMAGES, image_size), _asked(queries, _NUM_TRACED_LABELS)]
    # 0 and 1 would be taken for constants, so more are traced; one of each works nevertheless.
    # Without an end PyTorch 2.6 finds a constraint violated.
    shapes = [{0: Dim("batch", min=1, max=_MOST)}, {0: Dim("labels", min=1, max=_MOST)}]
    num_inputs = 1 if baked else 2
    write = _write_onnx if kind == "onnx" else _write_program
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of the exporters' own deprecations.
            write(model, tuple(traced[:num_inputs]), tuple(shapes[:num_inputs]), path)
    except Exception as error:  # Exporters fail in many ways.
        cause = error.__cause__ or error  # ONNX's exporter says what to read about it first.
        reason = reason_of(cause)
        raise InputError(
            f"PyTorch {torch.__version__} can't write this model as {kind}: {reason}"
        ) from error
    trials = [trial[:num_inputs] for trial in _trials(queries, image_size)]
    run = _run_onnx if kind == "onnx" else _run_program
    return _compare([model(*trial) for trial in trials], run(path, trials))


def _random_images(number: int, image_size: int) -> Tensor:
    generator = torch.Generator().manual_seed(number)
    shape = (number, 3, image_size, image_size)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def _asked(queries: Tensor, number: int) -> Tensor:
    """Vectors (number, W): those given, and mixtures of two where they are too few."""
    # In equal parts they could be as near to one group as to another: rounding would decide.
    shifts = range(1, number // len(queries) + 1)
    rounds = [queries + 0.4 * queries.roll(shift, 0) for shift in shifts]
    return torch.cat([queries, *rounds])[:number].contiguous()


def _trials(queries: Tensor, image_size: int) -> list[tuple[Tensor, Tensor]]:
    """Images and label vectors in other numbers than those traced."""
    numbers = ((1, 1), (2, len(queries)), (3, 2), (5, len(queries) + 4))
    return [(_random_images(images, image_size), _asked(queries, n)) for images, n in numbers]


def _write_onnx(
    model: nn.Module, arguments: tuple[Tensor, ...], shapes: tuple[dict[int, Any], ...], path: Path
) -> None:
    tensors = [*model.parameters(), *model.buffers()]
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    torch.onnx.export(
        model,
        arguments,
        path,
        dynamo=True,
        dynamic_shapes=shapes,
        input_names=INPUTS[: len(arguments)],
        output_names=["logits"],
        external_data=size > _ONE_FILE,
        verbose=False,
    )


def _write_program(
    model: nn.Module, arguments: tuple[Tensor, ...], shapes: tuple[dict[int, Any], ...], path: Path
) -> None:
    program = torch.export.export(model, arguments, dynamic_shapes=shapes, strict=False)
    torch.export.save(program, path)


def _run_onnx(path: Path, trials: list[tuple[Tensor, ...]]) -> list[Tensor]:
    from onnxruntime import InferenceSession  # Of an extra.

    session = InferenceSession(path, providers=["CPUExecutionProvider"])
    results = []
    for trial in trials:
        arrays = [tensor.numpy() for tensor in trial]
        (logits,) = session.run(None, dict(zip(INPUTS, arrays, strict=False)))
        results.append(torch.from_numpy(np.asarray(logits)))
    return results


def _run_program(path: Path, trials: list[tuple[Tensor, ...]]) -> list[Tensor]:
    module = torch.export.load(path).module()
    return [module(*trial) for trial in trials]


def _compare(expected: list[Tensor], found: list[Tensor]) -> Difference:
    largest, largest_logit = 0.0, 0.0
    for one, other in zip(expected, found, strict=True):
        # No number is far from any, and a comparison with NaN would call it near.
        difference = (one - other).abs().nan_to_num(torch.inf)
        largest = max(largest, float(difference.max()))
        largest_logit = max(largest_logit, float(one.abs().max()))
    return Difference(largest, largest_logit)
