import json
from pathlib import Path

import pandas as pd
import pytest

from tests.evaluation.fakes import make_scored
from zsl.evaluation.assessment import assess, compare
from zsl.evaluation.report import write_evaluation
from zsl.metrics import Protocol
from zsl.metrics.bootstrap import Bootstrap

ROLES = ["seen"] * 6 + ["held_out"] * 2 + ["unseen"] * 6


def test_labels_of_a_fixed_set_of_classes_are_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scored = make_scored(["seen"] * 5, groups={"classes": [0, 1, 2, 3, 4], "rare": [0, 1]})
    write_evaluation([assess(scored, [Protocol()], (3,), Bootstrap(12, 5))], tmp_path)
    text = capsys.readouterr().out
    assert "classes          all_images      12       5      1" in text
    assert "Harmonic" not in text
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["protocol"]["num_labels"] == {"classes": 5, "rare": 2}
    assert {"test/classes/F1@3", "test/rare/mAP"} <= set(results["intervals"])
    assert "test/harmonic_mAP" not in results["metrics"]
    assert set(pd.read_csv(tmp_path / "results.csv")["group"]) == {"classes", "rare"}
    assert "harmonic" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_held_out_labels_without_a_positive_leave_calibration_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    # The tables of images refuse this beforehand; other data need not.
    assessment = assess(make_scored(ROLES, num_validation=5), [Protocol()], (3,), None)
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
