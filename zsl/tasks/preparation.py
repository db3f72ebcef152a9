"""What a network learns of the training images before the first step of training."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from zsl.data import Batch, MultiLabelDataModule, Split
from zsl.data.dataset import MultiLabelDataset
from zsl.errors import InputError
from zsl.labels import LabelEncoder
from zsl.models import BackboneConfig, ClosedFormHead, TaggerNetwork
from zsl.models.own_classes import own_classes
from zsl.tasks.ridge import ClosedFormFit, own_class_map

_log = logging.getLogger(__name__)
_FREQUENCY_STRENGTH = 3.0


@torch.no_grad()
def tokens_of(network: TaggerNetwork, batch: Batch) -> Tensor:
    """Returns the tokens (B, T, C) of a batch of images, or their stored ones."""
    device = next(network.parameters()).device
    if "tokens" in batch:
        return batch["tokens"].to(device).float()
    return network.backbone(batch["image"].to(device))


def keep_sample(network: TaggerNetwork, data: MultiLabelDataModule) -> None:
    """Keeps the tokens of a sample of the training images, drawn by a fixed seed, with the model.

    Of fewer images than the sample takes, some are there several times.
    """
    assert network.scores is not None
    dataset, sample = data.plain_dataset(Split.TRAIN), network.scores.sample
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0)).tolist()
    rows = (order * (len(sample) // len(order) + 1))[: len(sample)]
    start = 0
    for batch in data.loader(dataset, sampler=rows):
        tokens = tokens_of(network, batch).half()
        sample[start : start + len(tokens)] = tokens
        start += len(tokens)


def measure_log_odds(network: TaggerNetwork, dataset: MultiLabelDataset, columns: slice) -> None:
    """Measures how frequent the seen labels are, and predicts it of others from their vectors.

    The prediction is a ridge regression of the log-odds.

    Args:
        network: Has scores to normalise.
        dataset: The training images.
        columns: The seen labels.
    """
    scores = network.scores
    assert scores is not None
    present = known = torch.zeros(len(scores.seen_vectors), dtype=torch.float64)
    for index in range(len(dataset)):
        target = dataset.target(index)[columns]
        present, known = present + (target == 1), known + (target >= 0)
    log_odds = torch.logit((present + 0.5) / (known + 1))
    vectors = F.normalize(scores.seen_vectors.double().cpu(), dim=1)
    centre, mean = vectors.mean(dim=0), log_odds.mean()
    gram = (vectors - centre).T @ (vectors - centre)
    strength = _FREQUENCY_STRENGTH * torch.eye(len(gram), dtype=torch.float64)
    weights = torch.linalg.solve(gram + strength, (vectors - centre).T @ (log_odds - mean))
    scores.seen_log_odds.copy_(log_odds)
    scores.log_odds_map.copy_(torch.cat([weights, (mean - centre @ weights)[None]]))


def solve_closed_form(
    network: TaggerNetwork,
    heads: list[ClosedFormHead],
    data: MultiLabelDataModule,
    columns: slice,
    backbone: BackboneConfig,
    encoder: LabelEncoder,
) -> None:
    """Solves the closed form of all training images, in one pass over them.

    Args:
        network: Makes the tokens.
        heads: Take the solution.
        data: The images.
        columns: The seen labels.
        backbone: The config of the network's, with its weights.
        encoder: Makes the vectors of the backbone's own classes.
    """
    assert network.label_vectors is not None
    dataset = data.plain_dataset(Split.TRAIN)
    for head in heads:
        wanted = head.config.own_classes
        own = _own_class_map(backbone, data.image_size, encoder) if wanted else None
        fit = ClosedFormFit(network.label_vectors[columns], len(dataset), own)
        batches: Iterable[Batch] = tqdm(
            data.loader(dataset), desc="closed form", unit="batch", delay=2, leave=False
        )
        for batch in batches:
            tokens = head.to_tokens(tokens_of(network, batch))
            fit.update(batch["index"], tokens.mean(dim=1), batch["target"][:, columns])
        mean, solved, covariance, strengths = fit.solve()
        head.mean.copy_(mean)
        head.map.copy_(solved)
        head.covariance.copy_(covariance)
        _log.info(
            "Closed form of %s images: strengths %g (images) and %g (labels)%s, chosen on labels "
            "held out of the seen ones.",
            f"{len(dataset):,}",
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
        names, descriptions = (
            F.normalize(plain.encode(texts).double(), dim=1)
            for texts in (classes.names, classes.descriptions)
        )
    except InputError as error:  # Word vectors lack words.
        _log.info("The closed form begins at 0, not at the backbone's own classes: %s", error)
        return None
    return own_class_map(F.normalize(names + descriptions, dim=1), classes.weights.double())
