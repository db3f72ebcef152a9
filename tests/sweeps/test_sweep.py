"""The command as users run it, on miniature data."""

from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from PIL import Image

from tests.fakes.runs import read_csv
from tests.sweeps.fakes import TINY, run, write
from tests.tasks.test_callbacks import interrupt
from zsl.commands.fit_cli import make_run
from zsl.inference.model_card import _METRICS as CARD_METRICS
from zsl.sweeps.charts import CURVES
from zsl.sweeps.command import main
from zsl.sweeps.results import figures_of_test, read_tables
from zsl.sweeps.runner import check_arguments
from zsl.sweeps.spec import read_sweep
from zsl.tasks import ClassificationTask
from zsl.tasks.zero_shot import logged_names

FOLDER = Path("runs/sweeps/tiny")


def test_a_grid_on_two_processes(
    swept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(swept)
    output = Path("output.txt").read_text()
    assert "Sweep tiny: 2 complete trials." in output
    assert "is selected in validation" in output
    assert max(map(len, output.splitlines())) <= 80
    rows = read_csv(FOLDER / "trials.csv")
    assert [
        (row["model.augmentation.noise"], row["model.augmentation.dropout"]) for row in rows
    ] == [
        ("0.0", "0.0"),
        ("0.0", "0.3"),
    ]
    assert {(row["state"], row["seed"]) for row in rows} == {("complete", "5")}
    points = read_csv(FOLDER / "points.csv")
    best = max(rows, key=lambda row: float(row["val/zsl/mAP"]))
    assert points[0]["selected"] == "True"
    assert points[0]["test/zsl/mAP mean"] == best["test/zsl/mAP"]
    tables = read_tables(FOLDER)
    assert tables.names == ["model.augmentation.noise", "model.augmentation.dropout"]
    assert tables.figures[0] == "val/zsl/mAP"
    assert tables.points["setting"].tolist() == [points[0]["setting"], points[1]["setting"]]
    assert {type(value) for value in tables.points["model.augmentation.dropout"]} == {float}
    with Image.open(FOLDER / "strength.png") as picture:
        assert min(picture.size) > 300
    for row in rows:
        validated = [line["val/zsl/mAP"] for line in read_csv(Path(row["folder"]) / "metrics.csv")]
        assert float(row["val/zsl/mAP"]) == pytest.approx(max(map(float, filter(None, validated))))
        for name in ("config.yaml", "results.json", "checkpoints/best.ckpt", "log.txt"):
            assert (Path(row["folder"]) / name).is_file()
    # Run again by itself, a trial's config makes a run beside the others.
    config = yaml.safe_load((FOLDER / "trial_0" / "config.yaml").read_text())
    assert config["trainer"]["logger"][0]["init_args"]["version"] is None
    assert "run_folder" not in config
    assert not Path("wandb").exists()

    before = (FOLDER / "trials.csv").read_text()
    assert run("--seed_everything=5") == 0
    assert (FOLDER / "trials.csv").read_text() == before
    assert run("--seed_everything=6") == 2
    assert "with other arguments than tiny.yaml" in capsys.readouterr().err


def test_a_search_prunes_and_logs_to_wandb(
    in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(
        method="bayes",
        run_cap=1,
        metric={"name": "val/seen/mAP", "goal": "maximize"},
        early_terminate={"type": "hyperband", "min_iter": 1},
        parameters={
            "model.augmentation.noise": {"min": 0.0, "max": 1.0},
            "model.optimization.ema_decay": {"values": [None, 0.9]},
            "seed_everything": {"min": 3, "max": 9},
        },
    )
    monkeypatch.setattr(optuna.Trial, "should_prune", lambda trial: True)
    # A run of this process has left the address of its own service.
    monkeypatch.setenv("WANDB_SERVICE", "3-1-unix-/nowhere/socket")
    assert run("--wandb", "--trainer.max_epochs=1000") == 0
    assert "Sweep tiny: 1 pruned trials." in capsys.readouterr().out
    (pruned,) = read_csv(FOLDER / "trials.csv")
    assert 3 <= int(pruned["seed"]) <= 9
    assert 0 <= float(pruned["model.augmentation.noise"]) <= 1
    assert pruned["test/zsl/mAP"] == ""
    assert not (FOLDER / "trial_0" / "results.json").exists()
    (logged,) = [path.read_bytes() for path in in_tmp_path.glob("wandb/offline-run-*/*.wandb")]
    assert b"tiny" in logged
    assert b"val/seen/mAP" in logged


@pytest.mark.parametrize(
    ("name", "values", "more", "message"),
    [
        (
            "model.augmentation.nose",
            [1],
            (),
            "model.augmentation.nose. Did you mean 'model.augmentation.noise'",
        ),
        ("model", [{"augmentation": {"nose": 1}}], (), "no argument model.augmentation.nose"),
        (
            "model.augmentation.noise",
            [0, "much"],
            (),
            "model.augmentation.noise is 'much'; expected float",
        ),
        ("model.augmentation.noise", [0], ("--trainer.devices=2",), "a trial runs on one device"),
        (
            "model.augmentation.noise",
            [0],
            ("--processes=0",),
            "--processes is 0; expected 1 or more",
        ),
    ],
)
@pytest.mark.usefixtures("in_tmp_path")
def test_errors_are_one_sentence(
    name: str, values: list[Any], more: tuple[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(parameters={name: {"values": values}})
    assert run(*more) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
    assert not FOLDER.exists()


@pytest.mark.usefixtures("in_tmp_path")
def test_a_metric_that_no_validation_logs_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Before a trial, unless a callback of one's own may log it."""
    write(metric={"name": "val/zsl/F1@4", "goal": "maximize"})
    assert run() == 2
    error = capsys.readouterr().err
    assert "metric names 'val/zsl/F1@4', which no validation logs. Did you mean 'val/z" in error
    assert not Path("runs").exists()
    check_arguments(read_sweep("tiny.yaml", interrupt(1, "after")))


def test_the_figures_of_the_tables_are_those_of_a_test() -> None:
    tested = {name.replace("val/", "test/") for name in logged_names()}
    of_several, of_one = (
        ClassificationTask.all_logged_names({"single_label": single}) for single in (False, True)
    )
    fixed = {name.replace("val/", "test/") for name in of_several}
    assert set(figures_of_test("val/zsl/mAP")) <= tested
    fixed |= {name.replace("val/", "test/") for name in of_one}
    assert set(figures_of_test("val/all/CF1")) <= fixed
    assert set(CURVES) <= tested | fixed
    assert {f"test/zsl/{name}" for name in CARD_METRICS} <= tested


@pytest.mark.parametrize("folder", ["out", "a/b/out", "runs/pooled/0"])
def test_a_run_may_have_any_folder(in_tmp_path: Path, folder: str) -> None:
    cli = make_run(["--config=shapes.yaml", *TINY, f"--run_folder={folder}"])
    assert Path(str(cli.trainer.log_dir)) == Path(folder)
    assert "run_folder" not in cli.config
    assert cli.config.trainer.logger[0]["init_args"]["version"] is None


def test_a_missing_file_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nothing.yaml", *TINY]) == 2
    assert "is neither a file nor one of the shipped sweep files" in capsys.readouterr().err
