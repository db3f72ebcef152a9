from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn
from torchmetrics import MetricCollection

from tests.metrics.data import random_data
from zsl.errors import InputError
from zsl.metrics import (
    Coverage,
    MeanAveragePrecision,
    PrecisionRecallF1AtK,
    PrecisionRecallF1AtThreshold,
    Predictions,
    Protocol,
    at_threshold,
    average_precision,
    coverage,
    precision_recall_f1_at_k,
)


def test_predictions_drop_repeated_images_and_keep_the_order() -> None:
    predictions = Predictions()
    scores, targets = random_data(6, 4, seed=11)
    for batch in ([1, 3, 5], [0, 2, 4], [5, 0]):
        index = torch.tensor(batch)
        predictions.update(index, scores[index].bfloat16(), targets[index])
    found_index, found_scores, found_targets = predictions.compute()
    assert found_index == [0, 1, 2, 3, 4, 5]
    assert found_scores.dtype == torch.float32
    torch.testing.assert_close(found_scores, scores.bfloat16().float())
    assert torch.equal(found_targets, targets)


def test_predictions_of_one_image_keep_their_shape() -> None:
    predictions = Predictions()
    predictions.update(torch.tensor([7]), torch.randn(1, 3), torch.zeros(1, 3, dtype=torch.int8))
    index, scores, targets = predictions.compute()
    assert index == [7]
    assert scores.shape == targets.shape == (1, 3)


PROCESSES = 2


def make_metrics() -> MetricCollection:
    return MetricCollection(
        [
            MeanAveragePrecision(Protocol("labelled_images", "skip", "sorted")),
            PrecisionRecallF1AtK(3),
            PrecisionRecallF1AtThreshold(0.4),
            Coverage(),
        ]
    )


def expected() -> dict[str, float]:
    scores, targets = random_data(9, 5, seed=18, levels=2)
    labelled = (targets == 1).any(dim=1)
    ap = average_precision(scores[labelled], targets[labelled], ties="sorted")
    figures = precision_recall_f1_at_k(scores, targets, 3)
    return {
        "MeanAveragePrecision": ap.nanmean().item(),
        **dict(zip(("P@3", "R@3", "F1@3"), figures, strict=True)),
        **at_threshold(scores, targets, 0.4),
        "Coverage": coverage(scores, targets),
    }


def update(metrics: MetricCollection, images: list[int]) -> None:
    scores, targets = random_data(9, 5, seed=18, levels=2)
    for batch in torch.tensor(images).split(2):
        metrics.update(batch, scores[batch], targets[batch])


def test_metrics_of_a_collection() -> None:
    metrics = make_metrics()
    update(metrics, list(range(9)))
    found = {name: value.item() for name, value in metrics.compute().items()}
    assert found == pytest.approx(expected(), abs=1e-6)
    metrics.reset()
    update(metrics, list(range(9)))
    assert metrics.compute()["Coverage"].item() == pytest.approx(found["Coverage"])


def gather(rank: int, folder: str) -> None:
    """Runs in each process, with a part of the images that repeats one, as samplers do."""
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=PROCESSES)
    metrics = make_metrics()
    update(metrics, [[0, 2, 4, 6, 8], [1, 3, 5, 7, 0]][rank])
    torch.save(dict(metrics.compute()), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_count_each_image_once(tmp_path: Path) -> None:
    spawn(gather, (str(tmp_path),), nprocs=PROCESSES)
    for rank in range(PROCESSES):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert {n: v.item() for n, v in found.items()} == pytest.approx(expected(), abs=1e-6)


def test_metrics_refuse_what_they_can_not_measure() -> None:
    for make in (lambda: PrecisionRecallF1AtK(0), lambda: PrecisionRecallF1AtThreshold(1.5)):
        with pytest.raises(InputError, match="expected"):
            make()
    metric = MeanAveragePrecision()
    metric.update(torch.arange(2), torch.tensor([[0.0], [torch.nan]]), torch.ones(2, 1).char())
    with pytest.raises(InputError, match="1 of 2 scores are not finite"):
        metric.compute()
