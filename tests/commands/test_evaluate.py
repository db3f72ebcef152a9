"""`python -m zsl.evaluate`: protocols, intervals, calibration, several checkpoints, bad input."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor

from tests.fakes.checkpoints import NORMALISED, write_checkpoint
from tests.fakes.table import write_table_dataset
from tests.fakes.threads import run_command
from zsl.commands.evaluate import main as evaluate
from zsl.commands.evaluate import short_names
from zsl.errors import InputError
from zsl.metrics import Protocol
from zsl.models import Calibration

QUICK = ["--replicates=20", "--data.num_workers=0"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs on the same miniature images, which differ in their resolution."""
    folder = tmp_path_factory.mktemp("runs") / "table"
    for version, image_size in enumerate((32, 48)):
        write_checkpoint(folder / f"version_{version}", image_size)
    return folder


def checkpoint(runs: Path, version: int) -> str:
    return str(runs / f"version_{version}" / "checkpoints" / "best.ckpt")


def test_processes_give_the_figures_of_one(
    runs: Path, in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--checkpoint", checkpoint(runs, 0), checkpoint(runs, 1), *QUICK]
    arguments += ["--data.batch_size=3"]
    assert evaluate([*arguments, "--output=alone"]) == 0
    assert run_command(monkeypatch, evaluate, [*arguments, "--output=together"]) == 0
    for path in Path("alone").rglob("*.[cj]s*"):
        assert path.read_bytes() == Path("together", path.relative_to("alone")).read_bytes()


def test_each_line_has_protocol_numbers_and_interval(
    runs: Path, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    protocols = ["--protocol", "all_images", "labelled_images", "--ties=sorted", "--empty=skip"]
    arguments = ["--checkpoint", checkpoint(runs, 0), *protocols, "--k", "1", "2", *QUICK]
    assert evaluate([*arguments, "--output=out"]) == 0
    output = capsys.readouterr().out
    assert "Protocol labelled_images, skip, sorted: images with a positive" in output
    frame = pd.read_csv("out/results.csv", keep_default_na=False)
    assert list(frame.columns) == [
        *("checkpoint", "protocol", "empty", "ties", "average", "calibration", "group"),
        *("images", "labels", "empty_labels", "metric", "value", "low", "high", "chance"),
        *("most_frequent", "gain_low", "gain_high"),
    ]
    assert set(frame["protocol"]) == {"all_images", "labelled_images"}
    raw = frame[(frame["protocol"] == "all_images") & (frame["calibration"] == "")]
    raw = raw[raw["group"].isin(["zsl", "gzsl", "seen"])]
    results = json.loads(Path("out/results.json").read_text())
    for row in raw.to_dict("records"):
        assert row["value"] == pytest.approx(
            results["metrics"][f"test/{row['group']}/{row['metric']}"]
        )
        if row["metric"] in ("mAP", "F1@1", "R@2"):
            interval = results["intervals"][f"test/{row['group']}/{row['metric']}"]
            assert [float(row["low"]), float(row["high"])] == pytest.approx(interval)
            assert float(interval[0]) <= float(interval[1])
    assert "calibration" in results
    assert results["protocol"]["name"] == "all_images, skip, sorted"


def test_checkpoints_are_compared_by_the_same_draws(
    runs: Path, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = ["--checkpoint", checkpoint(runs, 0), checkpoint(runs, 1)]
    assert evaluate([*both, *QUICK, "--calibrate=false"]) == 0
    assert "Paired bootstrap over the images" in capsys.readouterr().out
    pairs = pd.read_csv("runs/evaluation/comparison.csv")
    assert set(pairs["first"]) == {"table/version_0"}
    assert {"zsl/mAP", "gzsl/mAP", "gzsl/F1@3", "harmonic_mAP"} <= set(pairs["metric"])
    results = [
        json.loads(Path(f"runs/evaluation/table_version_{v}/results.json").read_text())
        for v in (0, 1)
    ]
    for row in pairs.to_dict("records"):
        first, second = (result["metrics"][f"test/{row['metric']}"] for result in results)
        assert row["difference"] == pytest.approx(second - first)
        assert row["is_more_than_noise"] == (row["low"] > 0 or row["high"] < 0)
    assert set(pd.read_csv("runs/evaluation/results.csv")["checkpoint"]) == {
        "table/version_0",
        "table/version_1",
    }


def test_a_calibration_that_the_checkpoint_does_not_hold_is_told(
    runs: Path,
    in_tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fit(calibration: Calibration, *_: object) -> bool:
        calibration.weights.fill_(1)
        return True

    arguments = ["--checkpoint", checkpoint(runs, 0), *QUICK, "--output=out"]
    told = "best.ckpt holds no calibration; one was fitted on the validation images for these"
    monkeypatch.setattr("zsl.tasks.task.fit_calibration", fit)
    assert evaluate([*arguments, "--calibrate=false"]) == 0
    assert told not in capsys.readouterr().out
    assert evaluate(arguments) == 0
    output = capsys.readouterr().out
    assert told in output
    assert "Probabilities and decisions" in output


def test_a_checkpoint_does_not_differ_from_itself(runs: Path, in_tmp_path: Path) -> None:
    copy = in_tmp_path / "copy.ckpt"
    copy.write_bytes(Path(checkpoint(runs, 0)).read_bytes())
    both = ["--checkpoint", checkpoint(runs, 0), str(copy)]
    assert evaluate([*both, *QUICK, "--calibrate=false"]) == 0
    pairs = pd.read_csv("runs/evaluation/comparison.csv")
    assert set(pairs["second"]) == {"work/copy"}
    assert (pairs[["difference", "low", "high"]] == 0).all(axis=None)
    assert not pairs["is_more_than_noise"].any()


def test_normalised_scores_are_told_and_compared_with_those_of_the_head_alone(
    in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_checkpoint(in_tmp_path / "run", 32, **NORMALISED)
    arguments = ["--checkpoint", str(path), "--head_alone=true", "--calibrate=false", *QUICK]
    assert evaluate([*arguments, "--output=out"]) == 0
    told = (
        "by the solved map (closed form) of the best parts of an image and of all of it, and by "
        "the trained head, which counts as much; each label is standardised by its scores on 12 "
        "training images, then"
    )
    assert capsys.readouterr().out.count(f"Scores: {told}") == 1
    found = [json.loads(file.read_text()) for file in sorted(Path("out").rglob("results.json"))]
    assert found[0]["protocol"]["scores"].startswith(told)
    assert found[1]["protocol"]["scores"] == "as the head gives them"
    assert found[0]["metrics"] != found[1]["metrics"]
    (name,) = set(pd.read_csv("out/comparison.csv")["second"])
    assert name.endswith("_head_alone")
    assert told in Path("out/report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--protocol=labeled_images"], "no protocol 'labeled_images'; choose one of all_images"),
        (["--ties=none"], "no choice for ties 'none'; choose one of averaged, sorted"),
        (["--average=mean"], "no choice for average 'mean'; choose one of macro, weighted"),
        (["--k=9"], "K is 9, but there are 8 labels; choose a K from 1 to 8"),
        (["--k=0"], "K is 0, but there are 8 labels"),
        (["--k=two"], "--k is 'two'; expected int"),
        (["--seed=-2"], "--seed is -2; expected 0 or more"),
        (["--output=file"], "file: File exists"),
        (["--replicates=-1"], "--replicates is -1; expected 0 or more"),
    ],
)
def test_bad_input_is_one_sentence(
    runs: Path,
    in_tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    Path("file").touch()
    assert evaluate(["--checkpoint", checkpoint(runs, 0), *QUICK, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_what_is_not_a_checkpoint_is_named_before_any_is_tested(
    runs: Path, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for wrong, message in (
        ("missing.ckpt", "missing.ckpt does not exist; expected the .ckpt file"),
        (str(in_tmp_path), "is a folder; expected the .ckpt file"),
    ):
        assert evaluate(["--checkpoint", checkpoint(runs, 0), wrong]) == 2
        captured = capsys.readouterr()
        assert message in captured.err
        assert "Test on" not in captured.out
    assert not list(Path.cwd().iterdir())


@pytest.mark.parametrize("part", ["hyper_parameters", "state_dict"])
def test_a_checkpoint_of_another_version_is_one_sentence(
    runs: Path, in_tmp_path: Path, capsys: pytest.CaptureFixture[str], part: str
) -> None:
    other = torch.load(checkpoint(runs, 0), weights_only=True)
    other[part]["of_the_future"] = torch.zeros(1)
    other["zsl"]["version"] = "9.0"
    torch.save(other, "other.ckpt")
    assert evaluate(["--checkpoint=other.ckpt"]) == 2
    assert "was saved by zsl 9.0 and does not fit zsl" in capsys.readouterr().err


def test_what_an_earlier_evaluation_compared_is_not_left(runs: Path, in_tmp_path: Path) -> None:
    both = ["--checkpoint", checkpoint(runs, 0), checkpoint(runs, 1)]
    common = ["--output=out", "--calibrate=false"]
    assert evaluate([*both, *common, *QUICK]) == 0
    assert Path("out/comparison.csv").is_file()
    repeated = ["--protocol", "all_images", "all_images", "--k", "3", "3"]
    assert evaluate([*both, *common, *repeated, *QUICK, "--replicates=0"]) == 0
    assert not Path("out/comparison.csv").exists()
    frame = pd.read_csv("out/results.csv")
    assert not frame.duplicated(["checkpoint", "group", "metric", "calibration"]).any()
    assert (frame["metric"] == "harmonic_mAP").sum() == 2


def test_scores_that_are_not_numbers_and_labels_without_a_positive_are_refused(
    runs: Path, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = torch.load(checkpoint(runs, 0), weights_only=True)
    broken["state_dict"]["network.label_vectors"][:] = torch.nan
    torch.save(broken, "broken.ckpt")
    assert evaluate(["--checkpoint=broken.ckpt", *QUICK]) == 2
    assert "80 of 80 scores are not finite numbers, the first that" in capsys.readouterr().err

    root = write_table_dataset(in_tmp_path / "photos")
    table = root / "labels.csv"
    rows = [line.split(",") for line in table.read_text().splitlines()]
    lines = [f"{i},{'' if split == 'test' else labels},{split}" for i, labels, split in rows]
    table.write_text("\n".join(lines) + "\n")
    assert evaluate(["--checkpoint", checkpoint(runs, 0), f"--data.root={root}", *QUICK]) == 2
    assert "None of the 8 labels has a positive among the 10 test" in capsys.readouterr().err
    assert not list(Path.cwd().glob("**/results.json"))


def test_each_protocol_is_computed_once(
    runs: Path, in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []
    original = Protocol.average_precision

    def average_precision(self: Protocol, scores: Tensor, targets: Tensor) -> Tensor:
        computed.append(scores.shape[1])
        return original(self, scores, targets)

    monkeypatch.setattr(Protocol, "average_precision", average_precision)
    assert (
        evaluate(
            ["--checkpoint", checkpoint(runs, 0), *QUICK, "--replicates=0", "--calibrate=false"]
        )
        == 0
    )
    assert computed == [8]


def test_names_tell_checkpoints_apart() -> None:
    runs = [Path(f"/runs/table/version_{v}/checkpoints/best.ckpt") for v in (0, 1)]
    assert short_names(runs) == ["table/version_0", "table/version_1"]
    assert short_names(runs[:1]) == ["table/version_0"]
    others = [Path(f"/{name}/runs/table/version_0/checkpoints/best.ckpt") for name in "ab"]
    assert short_names(others) == ["a", "b"]
    assert short_names([runs[0], Path("/x/model.ckpt")]) == ["table/version_0", "x/model"]
    last = runs[0].with_name("last.ckpt")
    assert short_names([runs[0], last]) == ["table/version_0", "checkpoints/last"]
    with pytest.raises(InputError, match=r"best.ckpt is named twice"):
        short_names([runs[0], runs[0]])
