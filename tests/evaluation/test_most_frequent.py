"""What the same most frequent labels for every image reach, beside a checkpoint's figures."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from tests.evaluation.fakes import make_scored
from zsl.evaluation.assessment import assess
from zsl.evaluation.report import write_evaluation
from zsl.evaluation.results import summary
from zsl.metrics import Protocol, evaluate, most_frequent_figures, most_frequent_scores
from zsl.metrics.bootstrap import Bootstrap, interval

_GAIN = ("gain_low", "gain_high")
ROLES = ["seen"] * 6 + ["held_out"] * 2 + ["unseen"] * 3


def test_labels_that_are_not_trained_have_no_frequency_of_their_own() -> None:
    """Even though the training images have targets of them, as those of NUS-WIDE do."""
    scored = make_scored(ROLES, 50)
    known = (scored.targets >= 0).sum(dim=0)
    shares = (scored.targets == 1).sum(dim=0).double() / known
    torch.testing.assert_close(scored.frequencies[:6], shares[:6])
    assert scored.frequencies[6:].isnan().all()
    probabilities = torch.sigmoid(scored.scores.double()).mean(dim=0)
    torch.testing.assert_close(scored.mean_scores, probabilities, atol=1e-6, rtol=0)
    scored.task.scores_are_log_odds = False
    torch.testing.assert_close(scored.mean_scores, scored.scores.double().mean(dim=0))


@pytest.mark.parametrize("images", ["all_images", "labelled_images"])
@pytest.mark.parametrize("single_label", [False, True])
def test_gains_are_those_of_the_drawn_images(images: Any, single_label: bool) -> None:
    roles = ["seen"] * 7 if single_label else ROLES
    groups = {"all": list(range(7))} if single_label else None
    scored = make_scored(roles, 40, single_label=single_label, groups=groups)
    protocol, bootstrap = Protocol(images), Bootstrap(40, 20, seed=3)
    (evaluation,) = assess(scored, [protocol], None, bootstrap).evaluations
    floor = evaluation.most_frequent
    assert floor is not None
    constant = most_frequent_scores(scored.frequencies, scored.mean_scores)
    rest: dict[str, Any] = {"protocol": protocol, "single_label": single_label}
    expected = most_frequent_figures(constant, scored.targets, scored.groups, **rest)
    assert floor.figures == expected
    multi = {"gzsl/F1@3", "gzsl/F1@5", "seen/F1@3", "seen/F1@5"}  # 3 of 3 labels are no choice.
    assert set(floor.gains) == ({"all/Acc@1", "all/Acc@5"} if single_label else multi)
    for name, gain in floor.gains.items():
        differences = []
        for counts in bootstrap.counts.long().T:
            drawn = torch.repeat_interleave(torch.arange(40), counts)
            own = scored.scores[drawn], scored.targets[drawn]
            least = most_frequent_figures(constant, own[1], scored.groups, **rest)
            differences.append(evaluate(*own, scored.groups, **rest).figures[name] - least[name])
        difference = evaluation.figures[name] - expected[name]
        found = interval(torch.tensor(differences, dtype=torch.float64), difference)
        assert gain == pytest.approx(found, abs=1e-6)


def test_tables_and_files_say_what_is_above_the_most_frequent_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scored = make_scored([*ROLES, "unseen"], 60)
    # Right about the seen labels; of the others it says the same whatever the image.
    scored.scores[:] = torch.linspace(-9, -8, 12)
    scored.scores[:, :6] = scored.targets[:, :6].float() * 4
    scored = replace(scored, path=Path("best.ckpt"))
    assessment = assess(scored, [Protocol()], (3,), Bootstrap(60, 50))
    write_evaluation([assessment], tmp_path)
    lines = capsys.readouterr().out.splitlines()
    floor = assessment.evaluations[0].most_frequent
    assert floor is not None
    names = ("mAP", "P@3", "R@3", "F1@3")
    shown = [line.split()[2:] for line in lines if line.startswith("  most frequent")]
    assert shown == [
        [f"{floor.figures[f'{group}/{name}']:.3f}" for name in names]
        for group in ("zsl", "gzsl", "seen")
    ]
    sentences = [
        "Most frequent: the same labels for every image, those that most training images have; one "
        "that was not trained counts as frequent as a trained one of its mean score.",
        "Above the most frequent by more than noise: GZSL F1@3, seen F1@3.",
        "Not above that by more than noise (95 % interval of the difference): ZSL F1@3 (+0.000 to "
        "+0.000).",
    ]
    assert "\n".join(sentences) in "\n".join(lines)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for text in (*sentences, f"frequent {floor.figures['gzsl/R@3']:.3f}"):
        assert text in page
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["most_frequent"] == {f"test/{n}": v for n, v in floor.figures.items()}
    found = results["more_than_most_frequent"]
    assert found == {f"test/{name}": list(gain) for name, gain in floor.gains.items()}
    frame = pd.read_csv(tmp_path / "results.csv")
    seen = frame[frame["group"] == "seen"].set_index("metric")[["most_frequent", *_GAIN]]
    by_metric = dict(zip(seen.index, seen.to_numpy(), strict=True))
    expected = [floor.figures["seen/F1@3"], *floor.gains["seen/F1@3"]]
    assert by_metric["F1@3"].tolist() == pytest.approx(expected)
    assert pd.isna(by_metric["CF1"]).all()


def test_without_training_images_mean_scores_stand_in() -> None:
    scored = make_scored(ROLES, has_training_images=False)
    assert scored.frequencies.isnan().all()
    (evaluation,) = assess(scored, [Protocol()], None, None).evaluations
    text = summary([evaluation], scored.task.vocabulary, 0, "")
    assert "those of the highest mean scores, since there are no training images to count." in text
    assert "noise" not in text  # There is no bootstrap.
    constant = scored.mean_scores.float().expand(scored.scores.shape)
    expected = evaluate(constant, scored.targets, scored.groups).figures
    floor = evaluation.most_frequent
    assert floor is not None
    assert floor.figures == pytest.approx({name: expected[name] for name in floor.figures})
