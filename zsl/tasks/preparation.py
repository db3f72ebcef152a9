"""What a network learns of the training images before the first step of training."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from zsl.data import Batch, MultiLabelDataModule, Split
from zsl.data.dataset import MultiLabelDataset
from zsl.data.label_counts import count_labels
from zsl.errors import InputError
from zsl.labels import LabelEncoder, Role
from zsl.models import (
    BackboneConfig,
    Calibration,
    ClosedFormHead,
    FamiliarImages,
    NormalisedScores,
    TaggerNetwork,
)
from zsl.models.own_classes import own_classes
from zsl.notes import on_terminals, waiting
from zsl.tasks.ridge import ClosedFormFit, label_side, own_class_map

_log = logging.getLogger(__name__)
_FREQUENCY_STRENGTH = 3.0
_LARGEST = torch.finfo(torch.float16).max

TokensOf = Callable[[Batch], Tensor]
"""Returns the tokens (B, T, C) of a batch."""


class TrainingImages:
    """The training images as in evaluation, and what makes tokens of them.

    Args:
        data: The images; those that are not trained on are left out.
        tokens_of: Makes their tokens.
    """

    def __init__(self, data: MultiLabelDataModule, tokens_of: TokensOf) -> None:
        self.data = data
        self.tokens_of = tokens_of
        self.dataset: MultiLabelDataset = data.plain_dataset(Split.TRAIN)
        self.rows: np.ndarray = data.rows_to_train(self.dataset)
        self.seen = data.vocabulary.columns(Role.SEEN)

    @torch.no_grad()
    def batches(self, rows: np.ndarray, doing: str) -> Iterator[tuple[Batch, Tensor]]:
        """Yields batches of the images at some positions, in that order, with their tokens.

        Args:
            rows: The positions.
            doing: What the user is told meanwhile.
        """
        loader = self.data.loader(self.dataset, sampler=rows.tolist())
        for batch in tqdm(loader, doing, unit="batch", **on_terminals()):
            yield batch, self.tokens_of(batch)

    def drawn(self) -> np.ndarray:
        """Returns the positions in an order that is drawn by a fixed seed."""
        return np.random.default_rng(0).permutation(self.rows)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Has the module in evaluation mode."""
    mode = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(mode)


def share_buffers(module: nn.Module) -> None:
    """Gives all processes of a training the first one's buffers.

    Each has statistics of its own images in the batch norms. Lightning's DDP does so too, but not
    until the first batch of a validation, and here the sample of the training images comes before.
    """
    for buffer in module.buffers():
        if buffer.is_floating_point():
            dist.broadcast(buffer, src=0)


def keep_sample(scores: NormalisedScores, images: TrainingImages) -> None:
    """Keeps the tokens of a sample of the training images with the model.

    Of fewer images than the sample takes, some are there several times.
    """
    sample, start = scores.sample, 0
    for _, tokens in images.batches(np.resize(images.drawn(), len(sample)), "storing some images"):
        sample[start : start + len(tokens)] = tokens.clamp(-_LARGEST, _LARGEST)
        start += len(tokens)


def measure_log_odds(scores: NormalisedScores, images: TrainingImages) -> None:
    """Measures how frequent the seen labels are, and predicts it of others from their vectors.

    The prediction is a ridge regression of the log-odds.
    """
    present, known = count_labels(images.dataset, images.rows, images.seen)
    log_odds = torch.logit((present + 0.5) / (known + 1))
    vectors = F.normalize(scores.seen_vectors.double().cpu(), dim=1)
    centre, mean = vectors.mean(dim=0), log_odds.mean()
    weights = label_side(vectors - centre, _FREQUENCY_STRENGTH).T @ (log_odds - mean)
    scores.seen_log_odds.copy_(log_odds)
    scores.log_odds_map.copy_(torch.cat([weights, (mean - centre @ weights)[None]]))


def solve_closed_form(
    head: ClosedFormHead,
    vectors: Tensor,
    images: TrainingImages,
    backbone: BackboneConfig,
    encoder: LabelEncoder,
) -> None:
    """Solves the closed form of all training images, in one pass over them.

    Args:
        head: Takes the solution.
        vectors: (S, W) of the seen labels.
        images: The images.
        backbone: The config of the network's, with its weights.
        encoder: Makes the vectors of the backbone's own classes.
    """
    own = None
    if head.config.own_classes:
        own = _own_class_map(backbone, images.data.image_size, encoder)
    fit = ClosedFormFit(vectors, len(images.dataset), own)
    for batch, tokens in images.batches(images.rows, "reading images for the closed form"):
        mean = head.to_tokens(tokens).float().mean(dim=1)
        fit.update(batch["index"], mean, batch["target"][:, images.seen])
    with waiting("solving the closed form"):
        mean, solved, covariance, strengths = fit.solve()
    head.mean.copy_(mean)
    head.map.copy_(solved)
    head.covariance.copy_(covariance)
    _log.info(
        "Closed form of %s images: strengths %g (images) and %g (labels)%s, chosen on labels "
        "held out of the seen ones.",
        f"{len(images.rows):,}",
        strengths.images,
        strengths.labels,
        f", {strengths.own_classes:g} of the backbone's own classes" if own is not None else "",
    )


def _own_class_map(
    backbone: BackboneConfig, image_size: int, encoder: LabelEncoder
) -> Tensor | None:
    """Returns the map (C, W) of the backbone's own classes; None where they have no names."""
    classes = own_classes(backbone, image_size)
    if classes is None:
        _log.info("The backbone has no classes of its own with names; the closed form begins at 0.")
        return None
    plain = encoder.without_texts()
    try:
        vectors = classes.vectors(lambda texts: F.normalize(plain.encode(texts).double(), dim=1))
    except InputError as error:  # Word vectors lack words.
        _log.info("The closed form begins at 0, not at the backbone's own classes: %s", error)
        return None
    return own_class_map(vectors, classes.weights.double())


class UntrainedTensors:
    """The tensors of a network that are solved, drawn or fitted, while its weights are trained.

    A moving average of the weights averages them too, and stands in the network's place while that
    is validated; so they are kept here, and put back after each exchange.
    """

    def __init__(self, network: TaggerNetwork) -> None:
        self.network = network
        self._kept: dict[str, Tensor] | None = None

    @property
    def is_training(self) -> bool:
        """Whether they are kept at present."""
        return self._kept is not None

    def named(self) -> dict[str, Tensor]:
        """Returns the network's own, by name."""
        parts = {
            name: part
            for name, part in self.network.named_children()
            if isinstance(part, (NormalisedScores, ClosedFormHead, Calibration, FamiliarImages))
        }
        return {
            f"{name}.{key}": tensor
            for name, part in parts.items()
            for key, tensor in part.named_buffers()
        }

    def keep(self) -> None:
        """Keeps the values that the network has."""
        self._kept = {name: tensor.clone() for name, tensor in self.named().items()}

    def restore(self) -> None:
        """Gives the network the values that are kept, if any are."""
        if self._kept is None:
            return
        for name, tensor in self.named().items():
            tensor.copy_(self._kept[name])

    def release(self) -> None:
        """Restores them for the last time."""
        self.restore()
        self._kept = None
