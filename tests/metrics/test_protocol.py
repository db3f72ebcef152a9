import itertools
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from tests.metrics.data import published, random_data
from zsl.errors import InputError
from zsl.metrics import Protocol, evaluate, precision_recall_f1_at_k
from zsl.metrics.average_precision import Ties
from zsl.metrics.protocol import Average, Empty, Images

GROUPS = {"zsl": [4, 5, 6], "gzsl": list(range(7)), "seen": [0, 1, 2, 3]}


def naive(
    scores: NDArray[np.float64], targets: NDArray[np.int64], protocol: Protocol, k: int
) -> dict[str, float]:
    """The published formulas, image by image and label by label."""
    if protocol.images == "labelled_images":
        kept = [row for row in range(len(targets)) if 1 in targets[row]]
        scores, targets = scores[kept], targets[kept]
    aps: list[tuple[float, int]] = []
    for label in range(scores.shape[1]):
        known = [row for row in range(len(targets)) if targets[row, label] != -1]
        positives = [row for row in known if targets[row, label] == 1]
        ap = 0.0
        for row in positives:
            own = (scores[row, label], row)

            def above(other: int, own: tuple[float, int] = own, label: int = label) -> bool:
                if protocol.ties == "averaged":
                    return bool(scores[other, label] >= own[0])
                return (scores[other, label], other) >= own

            ap += sum(map(above, positives)) / sum(map(above, known)) / len(positives)
        is_empty = not positives
        if protocol.empty == "two_sided":
            is_empty = is_empty or len(positives) == len(known)
        if protocol.empty == "zero" or not is_empty:
            aps.append((ap, len(positives) if protocol.average == "weighted" else 1))
    hits = asked = positives_of_all = 0
    for row in range(len(targets)):
        known = [label for label in range(scores.shape[1]) if targets[row, label] != -1]
        best = sorted(known, key=lambda label: -scores[row, label])[:k]
        hits += sum(targets[row, label] == 1 for label in best)
        asked += len(best)
        positives_of_all += sum(targets[row, label] == 1 for label in known)
    return {
        "N": len(targets),
        "mAP": sum(ap * weight for ap, weight in aps) / max(sum(weight for _, weight in aps), 1),
        f"P@{k}": hits / max(asked, 1),
        f"R@{k}": hits / max(positives_of_all, 1),
        f"F1@{k}": 2 * hits / max(asked + positives_of_all, 1),
    }


@pytest.mark.parametrize("images", ["all_images", "labelled_images"])
@pytest.mark.parametrize("empty", ["zero", "skip", "two_sided"])
@pytest.mark.parametrize("ties", ["averaged", "sorted"])
@pytest.mark.parametrize("average", ["macro", "weighted"])
def test_protocols_are_the_published_formulas(
    images: Images, empty: Empty, ties: Ties, average: Average
) -> None:
    protocol = Protocol(images, empty, ties, average)
    scores, targets = random_data(60, 7, seed=19)
    # Ties between images, none between the labels of an image, whose order is not defined.
    scores = (2 * scores).round() + torch.arange(7) / 100
    targets[:, 5] = 0
    targets[::7, 2] = -1
    targets[10:20] = 0
    targets[:, 4] = -1  # Without a negative.
    targets[:9, 4] = 1
    evaluation = evaluate(scores, targets, GROUPS, ks=(2,), protocol=protocol)
    for group, columns in GROUPS.items():
        arrays = scores[:, columns].double().numpy(), targets[:, columns].long().numpy()
        expected = naive(*arrays, protocol, k=2)
        result = evaluation.groups[group]
        assert result.num_images == expected.pop("N")
        assert {name: result.metrics[name] for name in expected} == pytest.approx(expected)
    assert evaluation.groups["zsl"].num_empty == (2 if empty == "two_sided" else 1)


def test_the_weighted_mean_is_that_of_scikit_learn() -> None:
    scores, targets = random_data(80, 7, seed=24, levels=2)
    targets[:, 5] = 0
    expected = average_precision_score(targets[:, :5], scores[:, :5], average="weighted")
    for empty in ("zero", "skip", "two_sided"):
        result = evaluate(scores, targets, GROUPS, protocol=Protocol("all_images", empty))
        plain = result.groups["gzsl"].metrics["mAP"]
        protocol = Protocol("all_images", empty, average="weighted")
        columns = {"some": [0, 1, 2, 3, 4, 5]}
        found = evaluate(scores, targets, columns, protocol=protocol).groups["some"]
        # A label without a positive has no weight.
        assert found.metrics["mAP"] == pytest.approx(expected)
        assert found.metrics["mAP"] != pytest.approx(plain)
        share = targets[:, :5].double().mean(dim=0)
        assert found.chance["mAP"] == pytest.approx((share.square().sum() / share.sum()).item())
    with pytest.raises(ValueError, match="needs the numbers of positives"):
        Protocol(average="weighted").mean(torch.ones(3))


def test_a_label_without_a_negative_is_right_whatever_the_scores() -> None:
    """So published figures of partial labels leave it out, as those of chance have to."""
    targets = torch.tensor([[1, 1], [1, 0], [-1, 0]], dtype=torch.int8)
    scores = torch.tensor([[0.0, 2.0], [1.0, 3.0], [2.0, 1.0]])
    one_sided, two_sided = (
        evaluate(scores, targets, {"all": [0, 1]}, protocol=Protocol("all_images", empty))
        for empty in ("skip", "two_sided")
    )
    assert one_sided.groups["all"].metrics["mAP"] == pytest.approx((1 + 1 / 2) / 2)
    assert two_sided.groups["all"].metrics["mAP"] == pytest.approx(1 / 2)
    assert one_sided.groups["all"].chance["mAP"] == pytest.approx((1 + 1 / 3) / 2)
    assert two_sided.groups["all"].chance["mAP"] == pytest.approx(1 / 3)
    assert two_sided.average_precision.isnan().tolist() == [True, False]


@pytest.mark.parametrize("images", ["all_images", "labelled_images"])
def test_real_test_images_of_nus_wide(images: Images, shared: Path) -> None:
    """As ML-Decoder's code has it, for the 81 concepts; 83,898 images have one of them."""
    with np.load(shared / "data" / "nuswide" / "labels81_test.npz") as arrays:
        truth = np.unpackbits(arrays["labels"], axis=1)[:, :81]
    generator = torch.Generator().manual_seed(0)
    targets = torch.from_numpy(truth).to(torch.int8)
    scores = torch.randn(targets.shape, generator=generator) + 2 * targets
    protocol = Protocol(images, ties="sorted")
    kept = protocol.images_kept(targets)
    scores, targets, truth = scores[kept], targets[kept], truth[kept]
    assert len(truth) == {"all_images": 107_859, "labelled_images": 83_898}[images]
    ap = protocol.average_precision(scores[:, ::16], targets[:, ::16])
    labels = zip(scores[:, ::16].numpy().T, truth[:, ::16].T, strict=True)
    assert ap.tolist() == pytest.approx([published(*label) for label in labels], abs=1e-9)
    best = np.argsort(-scores.numpy(), axis=1)[:, :3]
    hits = np.take_along_axis(truth, best, axis=1).sum()
    precision, recall = hits / best.size, hits / truth.sum()
    expected = (precision, recall, 2 * precision * recall / (precision + recall))
    assert precision_recall_f1_at_k(scores, targets, 3) == pytest.approx(expected)


def test_a_protocol_says_what_it_is() -> None:
    assert str(Protocol()) == "all_images"
    assert str(Protocol("labelled_images", "skip", "sorted")) == "labelled_images, skip, sorted"
    assert str(Protocol("all_images", "two_sided", average="weighted")) == (
        "all_images, two_sided, weighted"
    )
    assert Protocol(average="weighted").definition.endswith(
        "count together; mAP weighs each label by its number of positives"
    )
    assert Protocol("labelled_images", ties="sorted").definition == (
        "images with a positive among the evaluated labels count; a label without a positive "
        "counts as AP 0; images of equal score count one by one, the last first"
    )


def test_choices_that_there_are_not_are_refused() -> None:
    with pytest.raises(InputError, match=r"no protocol 'all_image'.*Did you mean 'all_images'"):
        Protocol("all_image")  # type: ignore[arg-type]  # A typo.
    with pytest.raises(InputError, match="no choice for ties 'avg'; choose one of averaged, so"):
        Protocol(ties="avg")  # type: ignore[arg-type]  # A typo.
    with pytest.raises(InputError, match="choice for average 'micro'; choose one of macro, wei"):
        Protocol(average="micro")  # type: ignore[arg-type]  # There is none.


def test_no_image_and_no_positive_give_zeros() -> None:
    scores, targets = torch.randn(4, 7), torch.zeros(4, 7, dtype=torch.int8)
    for images in ("all_images", "labelled_images"):
        for empty, average in itertools.product(get_args(Empty), get_args(Average)):
            protocol = Protocol(images, empty, average=average)
            result = evaluate(scores, targets, GROUPS, protocol=protocol).groups["gzsl"]
            assert result.num_images == (4 if images == "all_images" else 0)
            assert set(result.metrics.values()) == {0.0}
            assert set(result.chance.values()) == {0.0}
