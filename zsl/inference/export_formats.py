"""Writes a tagger as one file for other programs, and checks that it scores as in PyTorch."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim

from zsl.errors import InputError, reason_of
from zsl.models import Answers, TaggerNetwork

Format = Literal["onnx", "torch_export"]
FILE_NAMES: dict[Format, str] = {"onnx": "model.onnx", "torch_export": "model.pt2"}
INPUTS = ["images", "queries"]
TOLERANCE = 1e-4

PACKAGES = ("onnx", "onnxruntime", "onnxscript")
"""What ONNX needs: the extra `export`."""
LEAST_TORCH = "2.11"
"""Older exporters fail on batch normalisation, or on groups of any number of labels."""
# Protocol buffers are limited to 2 GB; larger weights go to a second file.
_ONE_FILE = 1_900_000_000
_MOST = 2**24


class _ExportedTagger(nn.Module):
    """A tagger whose label vectors are an input, or whose labels are always the same.

    Args:
        tagger: Of which only what scores is kept: no label vectors, no sample of tokens.
        prepared: Labels to build in, as `tagger.prepare` makes them; None makes their vectors an
            input.
        answers: Makes log-odds of their logits; None leaves the logits as they are.
    """

    def __init__(self, tagger: TaggerNetwork, prepared: Any, answers: Answers | None) -> None:
        super().__init__()
        own = tagger.backbone, tagger.head
        self.tagger = TaggerNetwork(*own, closed_form=tagger.closed_form)
        self.prepared = prepared
        self.answers = answers

    def forward(self, images: Tensor, queries: Tensor | None = None) -> Tensor:
        """Returns logits (B, L) of images (B, 3, S, S)."""
        logits = self.tagger(images, self.prepared if queries is None else queries)
        return logits if self.answers is None else self.answers.logits(logits)


class Difference(NamedTuple):
    """How far the logits of an exported model are from PyTorch's."""

    largest: float
    """Largest absolute difference of two logits."""
    largest_logit: float
    """Largest absolute logit of PyTorch."""

    @property
    def is_small(self) -> bool:
        """At most `TOLERANCE`, relative to the largest logit where that is above 1.

        A frozen backbone rounds its tokens to float16, and the last bit of a float32 can decide
        whether up or down.
        """
        return self.largest <= TOLERANCE * max(1.0, self.largest_logit)


def check_packages() -> None:
    """Checks that the packages for ONNX are installed.

    Raises:
        InputError: A package is missing.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise InputError(
            f"--format onnx needs {', '.join(missing)}: pip install {' '.join(missing)}."
        )


@torch.no_grad()
def export_tagger(
    tagger: TaggerNetwork,
    queries: Tensor,
    baked: bool,
    image_size: int,
    path: Path,
    kind: Format,
    answers: Answers | None = None,
) -> Difference:
    """Writes a tagger in evaluation mode to a file, and compares the file with the tagger.

    Args:
        tagger: Images uint8 (B, 3, S, S) and label vectors (L, W) to logits (B, L).
        queries: (L, W) label vectors.
        baked: Builds these vectors in; otherwise they are an input.
        image_size: Side S of the images.
        path: The file; ONNX puts weights of 2 GB and more into a second one beside it.
        kind: Format of the file.
        answers: Makes log-odds of the logits of labels that are built in.

    Returns:
        The difference on several numbers of images and labels.

    Raises:
        InputError: The format can't hold this model.
        OSError: The file can't be written.
    """
    prepared = tagger.prepare(queries) if baked else None
    model = _ExportedTagger(tagger, prepared, answers).eval()
    num_inputs = 1 if baked else 2
    # 0 and 1 would be taken for constants, so more are traced; one of each works nevertheless.
    traced = _inputs(2, 3, queries, image_size)[:num_inputs]
    # Without an end PyTorch 2.6 finds a constraint violated.
    shapes = ({0: Dim("batch", min=1, max=_MOST)}, {0: Dim("labels", min=1, max=_MOST)})
    write_model = _write_onnx if kind == "onnx" else _write_program
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Deprecations within the exporters.
            write_model(model, traced, shapes[:num_inputs], path)
    except OSError:  # Of the disk, not of the model.
        raise
    except Exception as error:  # Exporters fail in many ways.
        cause = error.__cause__ or error  # ONNX's exporter says what to read about it first.
        reason = reason_of(cause).removesuffix(".")
        is_old = torch.__version__ < LEAST_TORCH
        advice = f"; PyTorch {LEAST_TORCH} writes more models" if is_old else ""
        raise InputError(
            f"PyTorch {torch.__version__} can't write this model as {kind}: {reason}{advice}."
        ) from error
    numbers = ((1, 1), (2, len(queries)), (3, 2), (5, len(queries) + 4))  # Others than traced.
    trials = [_inputs(*pair, queries, image_size)[:num_inputs] for pair in numbers]
    run_model = _run_onnx if kind == "onnx" else _run_program
    expected = [model(*trial) for trial in trials]
    return _compare(expected, run_model(path, trials))


def _inputs(
    num_images: int, num_labels: int, queries: Tensor, image_size: int
) -> tuple[Tensor, Tensor]:
    """Returns random images and label vectors: those given, or mixtures where they are too few."""
    generator = torch.Generator().manual_seed(num_images)
    shape = (num_images, 3, image_size, image_size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    # In equal parts they could be as near to one group as to another: rounding would decide.
    shifts = range(1, num_labels // len(queries) + 1)
    mixtures = [queries + 0.4 * queries.roll(shift, 0) for shift in shifts]
    return images, torch.cat([queries, *mixtures])[:num_labels].contiguous()


def _write_onnx(
    model: nn.Module, inputs: tuple[Tensor, ...], shapes: tuple[dict[int, Any], ...], path: Path
) -> None:
    tensors = [*model.parameters(), *model.buffers()]
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    torch.onnx.export(
        model,
        inputs,
        path,
        dynamo=True,
        dynamic_shapes=shapes,
        input_names=INPUTS[: len(inputs)],
        output_names=["logits"],
        external_data=size > _ONE_FILE,
        verbose=False,
    )


def _write_program(
    model: nn.Module, inputs: tuple[Tensor, ...], shapes: tuple[dict[int, Any], ...], path: Path
) -> None:
    program = torch.export.export(model, inputs, dynamic_shapes=shapes, strict=False)
    # Into memory, since PyTorch's own writer of files ends the process where the disk is full.
    buffer = BytesIO()
    torch.export.save(program, buffer)
    path.write_bytes(buffer.getvalue())


def _run_onnx(path: Path, trials: list[tuple[Tensor, ...]]) -> list[Tensor]:
    from onnxruntime import InferenceSession  # Of the extra `export`.

    session = InferenceSession(path, providers=["CPUExecutionProvider"])
    arrays = [[tensor.numpy() for tensor in trial] for trial in trials]
    outputs = [session.run(None, dict(zip(INPUTS, inputs, strict=False))) for inputs in arrays]
    return [torch.from_numpy(np.asarray(logits)) for (logits,) in outputs]


def _run_program(path: Path, trials: list[tuple[Tensor, ...]]) -> list[Tensor]:
    module = torch.export.load(path).module()
    return [module(*trial) for trial in trials]


def _compare(expected: list[Tensor], found: list[Tensor]) -> Difference:
    pairs = list(zip(expected, found, strict=True))
    # NaN counts as far away; a comparison with it would call it near.
    differences = [(one - other).abs().nan_to_num(torch.inf).max() for one, other in pairs]
    largest_logit = max(float(one.abs().max()) for one in expected)
    return Difference(max(map(float, differences)), largest_logit)
