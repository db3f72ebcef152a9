import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from tests.evaluation.fakes import make_scored
from zsl.evaluation.assessment import assess, compare
from zsl.evaluation.report import write_evaluation
from zsl.evaluation.results import figures_frame
from zsl.metrics import Protocol
from zsl.metrics.bootstrap import Bootstrap

ROLES = ["seen"] * 6 + ["held_out"] * 2 + ["unseen"] * 6
GROUPS = {"all": list(range(8))}


def test_labels_of_a_fixed_set_of_classes_are_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scored = make_scored(["seen"] * 5, groups={"classes": [0, 1, 2, 3, 4], "rare": [0, 1]})
    write_evaluation([assess(scored, [Protocol()], (3,), Bootstrap(12, 5))], tmp_path)
    text = capsys.readouterr().out
    assert "classes               5      1" in text
    assert "Harmonic" not in text
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["protocol"]["num_labels"] == {"classes": 5, "rare": 2}
    assert {"test/classes/F1@3", "test/rare/mAP"} <= set(results["intervals"])
    assert "test/harmonic_mAP" not in results["metrics"]
    assert set(pd.read_csv(tmp_path / "results.csv")["group"]) == {"classes", "rare"}
    assert "harmonic" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_tables_fit_into_80_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With all that makes them wide: several K, other numbers of images, decisions, two names."""
    labels = [f"a long name of a label, {number}" for number in range(len(ROLES))]
    names = ("photographs/version_10", "photographs/version_11")
    scores = make_scored(ROLES, 40).scores
    validation = scores, make_scored(ROLES, 40).targets
    assessments = [
        assess(
            make_scored(ROLES, 30, name, labels, validation=validation),
            [Protocol("labelled_images")],
            (1, 3, 5),
            Bootstrap(30, 5),
        )
        for name in names
    ]
    write_evaluation(assessments, tmp_path)
    lines = capsys.readouterr().out.splitlines()
    rows = [line for line in lines if "  " in line.strip()]
    assert {"images", "P@1", "P@5", "ECE"} <= {word for row in rows for word in row.split()}
    assert "photographs/version_11 - photographs/version_10" in lines
    assert [row for row in rows if len(row) > 80] == []


FIXED_HEADLINE = ["mAP", "OF1", "CF1", "OF1@3", "CF1@3"]


@pytest.mark.parametrize(
    ("single_label", "headline"), [(False, FIXED_HEADLINE), (True, ["mAP", "Acc@1", "Acc@5"])]
)
def test_fixed_classes_are_tabled_and_compared_by_what_is_published_of_them(
    single_label: bool, headline: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    protocol = Protocol("all_images", "two_sided", average="weighted")
    options: dict[str, Any] = {"groups": GROUPS, "single_label": single_label}
    assessments = [
        assess(
            replace(make_scored(["seen"] * 8, 60, name, **options), path=Path("best.ckpt")),
            [protocol],
            None,
            Bootstrap(60, 5),
        )
        for name in ("one", "two")  # Names of one length have the same targets.
    ]
    write_evaluation(assessments, tmp_path)
    lines = capsys.readouterr().out.splitlines()
    table = next(line for line in lines if line.lstrip().startswith("labels"))
    assert table.split() == ["labels", "empty", *headline]
    assert "all labels 8 1" in [" ".join(line.split()[:4]) for line in lines]
    interval = next(line for line in lines if line.startswith("  95 % interval"))
    assert interval.count("±") == len(headline)
    compared = pd.read_csv(tmp_path / "comparison.csv")["metric"].tolist()
    assert sorted(compared) == sorted(f"all/{name}" for name in headline)
    frame = pd.read_csv(tmp_path / "results.csv")
    assert set(frame["average"]) == {"weighted"}
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "weighs each label by its number of positives" in page
    results = json.loads((tmp_path / "one" / "results.json").read_text())
    assert results["protocol"]["num_labels_empty"] == {"all": 1}


def test_calibration_ranks_labels_anew_and_no_image_within_a_label() -> None:
    targets = (torch.rand(40, 14, generator=torch.Generator().manual_seed(0)) < 0.5).to(torch.int8)
    validation = targets + torch.randn(40, 14, generator=torch.Generator().manual_seed(1)), targets
    scored = make_scored(ROLES, validation=validation)
    protocols = [Protocol(), Protocol("labelled_images")]
    assessment = assess(scored, protocols, (3,), Bootstrap(12, 5))
    assert assessment.calibration["num_held_out_labels"] == 2
    frame = figures_frame("name", assessment.evaluations)
    rows = frame[(frame["metric"] == "mAP") & (frame["protocol"] == "all_images")]
    assert list(zip(rows["group"], rows["calibration"], strict=True)) == [
        *(("zsl", ""), ("zsl", "calibrated")),
        *(("gzsl", ""), ("gzsl", "stacking"), ("gzsl", "calibrated"), ("seen", "")),
    ]
    for _, same in frame[frame["metric"] == "mAP"].groupby(["group", "protocol"]):
        assert same["value"].nunique() == 1
    # Figures above a threshold need probabilities, which stacking does not leave.
    assert "CF1" not in set(frame.loc[frame["calibration"] == "stacking", "metric"])
    # What is calibrated has intervals where its ranking is another.
    calibrated = frame[frame["calibration"] != ""]
    has_interval = calibrated["low"].notna()
    assert set(calibrated.loc[has_interval, "metric"]) == {"P@3", "R@3", "F1@3"}


def test_held_out_labels_without_a_positive_leave_calibration_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    # The tables of images refuse this beforehand; other data need not.
    nothing = torch.randn(5, 14), torch.zeros(5, 14, dtype=torch.int8)
    assessment = assess(make_scored(ROLES, validation=nothing), [Protocol()], (3,), None)
    assert "no calibrated figures: Of 6 seen labels none is present" in capsys.readouterr().out
    assert assessment.calibration == {}
    assert len(assessment.evaluations) == 1


def test_checkpoints_of_other_labels_are_not_compared(capsys: pytest.CaptureFixture[str]) -> None:
    one, same, other = (
        assess(make_scored(roles, name=name), [Protocol()], (3,), Bootstrap(12, 5))
        for roles, name in ((ROLES, "one"), (ROLES, "two"), (ROLES[1:], "other"))
    )
    comparisons = compare(one, [same, other])
    assert set(comparisons["second"]) == {"two"}
    assert comparisons["metric"].tolist() == [
        *("zsl/mAP", "gzsl/mAP", "seen/mAP", "harmonic_mAP", "zsl/F1@3", "gzsl/F1@3")
    ]
    assert "note: other is not compared with one" in capsys.readouterr().out
