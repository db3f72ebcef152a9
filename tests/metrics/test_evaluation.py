import pytest
import torch

from tests.metrics.data import random_data
from zsl.errors import InputError
from zsl.metrics import (
    accuracy_at_k,
    at_threshold,
    average_precision,
    chance_level,
    coverage,
    evaluate,
    label_group,
    precision_recall_f1_at_k,
    prevalence,
)
from zsl.metrics.bootstrap import Bootstrap


def test_constant_scores_have_the_prevalence_as_average_precision() -> None:
    _, targets = random_data(60, 5, seed=5)
    ap = average_precision(torch.zeros(60, 5), targets)
    torch.testing.assert_close(ap, targets.double().mean(dim=0))
    assert chance_level(targets)["mAP"] == pytest.approx(ap.mean().item())


def test_prevalence_counts_known_images_only() -> None:
    targets = torch.tensor([[1, -1, -1], [0, 1, -1]], dtype=torch.int8)
    assert prevalence(targets).tolist() == [0.5, 1.0, 0.0]


def test_chance_level_is_what_random_scores_reach() -> None:
    generator = torch.Generator().manual_seed(7)
    _, targets = random_data(4000, 8, seed=8)
    expected = chance_level(targets, ks=(3,))
    scores = torch.rand(4000, 8, generator=generator)
    reached = precision_recall_f1_at_k(scores, targets, 3)
    assert reached == pytest.approx([expected[f"{name}@3"] for name in ("P", "R", "F1")], abs=0.01)
    ap = average_precision(scores, targets).mean().item()
    assert ap == pytest.approx(expected["mAP"], abs=0.02)


def test_evaluate_groups_labels_and_names_results() -> None:
    scores, targets = random_data(50, 6, seed=9)
    targets[:, 5] = 0
    groups = {"zsl": [4, 5], "gzsl": list(range(6)), "seen": [0, 1, 2, 3]}
    evaluation = evaluate(scores, targets, groups)
    ap = average_precision(scores, targets)
    logged = evaluation.logged("test")
    assert logged["test/seen/mAP"] == pytest.approx(ap[:4].mean().item())
    assert logged["test/zsl/mAP"] == pytest.approx(ap[4].item() / 2)
    assert logged["test/gzsl/F1@3"] == precision_recall_f1_at_k(scores, targets, 3)[2]
    zsl, seen = logged["test/zsl/mAP"], logged["test/seen/mAP"]
    assert logged["test/harmonic_mAP"] == pytest.approx(2 * zsl * seen / (zsl + seen))
    assert evaluation.groups["zsl"].num_empty == 1
    assert evaluation.groups["zsl"].num_labels == 2
    # K = 3 asks more labels than there are unseen ones.
    assert "test/zsl/F1@3" not in logged
    assert "F1@3" not in evaluation.groups["zsl"].chance
    assert "test/seen/F1@5" not in logged


def test_groups_have_any_names_and_no_harmonic_mean_unless_zsl_and_seen_are_there() -> None:
    scores, targets = random_data(50, 6, seed=9)
    both = evaluate(scores, targets, {"zsl": [4, 5], "seen": [0, 1, 2, 3]})
    fixed = evaluate(scores, targets, {"classes": list(range(6)), "seen": [0, 1, 2, 3]})
    assert both.harmonic_map is not None
    assert fixed.harmonic_map is None
    assert "harmonic_mAP" not in fixed.figures
    assert fixed.logged("test")["test/classes/mAP"] == pytest.approx(
        average_precision(scores, targets).mean().item()
    )
    bootstrap = Bootstrap(50, 2)
    assert "classes/mAP" in bootstrap.figures(scores, targets, {"classes": list(range(6))})


def test_fixed_classes_have_the_top_3_figures_too() -> None:
    scores, targets = random_data(50, 6, seed=9)
    found = evaluate(scores, targets, {"all": list(range(6)), "gzsl": list(range(6))})
    same = found.groups["gzsl"].metrics
    top_3 = at_threshold(scores, targets, k=3)
    assert found.groups["all"].metrics == same | top_3
    assert not set(top_3) & set(same)
    few = evaluate(scores[:, :2], targets[:, :2], {"all": [0, 1]}).groups["all"]
    assert not [name for name in few.metrics if "@3" in name]


def test_one_label_an_image_has_accuracy() -> None:
    scores, _ = random_data(40, 6, seed=9)
    targets = torch.nn.functional.one_hot(torch.arange(40) % 6, 6).to(torch.int8)
    groups = {"all": list(range(6))}
    found = evaluate(scores, targets, groups, single_label=True)
    assert found.logged("val") == pytest.approx(
        {
            "val/all/mAP": average_precision(scores, targets).mean().item(),
            "val/all/Acc@1": accuracy_at_k(scores, targets, 1),
            "val/all/Acc@5": accuracy_at_k(scores, targets, 5),
            "val/all/coverage": coverage(scores, targets),
        }
    )
    chance = found.groups["all"].chance
    assert chance == pytest.approx({"mAP": 1 / 6, "Acc@1": 1 / 6, "Acc@5": 5 / 6})
    constant = evaluate(torch.zeros(40, 6), targets, groups, single_label=True)
    for name, value in chance.items():
        assert constant.groups["all"].metrics[name] == pytest.approx(value)
    two = evaluate(
        scores[::3, :2],
        torch.eye(2, dtype=torch.int8).repeat(7, 1),
        {"all": [0, 1]},
        single_label=True,
    ).groups["all"]
    assert set(two.metrics) == {"mAP", "Acc@1", "coverage"}
    other = evaluate(scores, targets, groups, (3, 7), single_label=True).groups["all"]
    assert set(other.metrics) == {"mAP", "Acc@3", "coverage"}
    assert set(other.chance) == {"mAP", "Acc@3"}


def test_the_headline_of_a_group() -> None:
    for metric in ("mAP", "F1@3", "P@10"):
        assert label_group("zsl").has_in_headline(metric)
    for metric in ("OF1@3", "CF1", "coverage"):
        assert not label_group("mine").has_in_headline(metric)
    for metric in ("mAP", "OF1@3", "CF1", "Acc@1"):
        assert label_group("all").has_in_headline(metric)
    for metric in ("F1@3", "OP", "CR@3", "coverage"):
        assert not label_group("all").has_in_headline(metric)


def test_scores_that_are_not_numbers_are_refused() -> None:
    scores, targets = random_data(5, 3, seed=10)
    scores[2, 1] = torch.nan
    with pytest.raises(InputError, match=r"image 2 and label 1.*training diverged"):
        evaluate(scores, targets, {"all": [0, 1, 2]})
