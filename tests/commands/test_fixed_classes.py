"""Fixed classes on every road that words go: feature store, resume, export, sweep."""

import json
from pathlib import Path

import pytest

from tests.fakes.table import write_table_dataset
from tests.fakes.weights import write_weights
from tests.sweeps import fakes as sweeps
from tests.tasks.test_callbacks import Interrupt, interrupt
from zsl.commands.export import main as export
from zsl.commands.fit import main as fit
from zsl.commands.labels import main as labels
from zsl.commands.prepare import main as prepare
from zsl.errors import InputError
from zsl.sweeps.runner import check_arguments
from zsl.sweeps.spec import read_sweep

TINY = ["--config=table_fixed.yaml", "--model.head.embed_dim=16", "--model.head.feedforward_dim=16"]
TINY += ["--model.backbone.name=test_resnet", "--model.backbone.stride=16"]
TINY += ["--data.images.size=32", "--data.batch_size=8"]
TINY += ["--data.images.min_crop=1", "--data.images.horizontal_flip=false", "--data.num_workers=0"]
TINY += ["--trainer.accelerator=cpu", "--trainer.max_epochs=2"]


@pytest.fixture
def tiny(in_tmp_path: Path) -> list[str]:
    weights = write_weights(in_tmp_path.parent / "weights.pt")
    root = write_table_dataset(in_tmp_path / "photos", kind="fixed")
    return [*TINY, f"--model.backbone.weights={weights}", f"--data.root={root}"]


def results(version: int) -> dict[str, float]:
    path = Path("runs", "table_fixed", f"version_{version}", "results.json")
    return json.loads(path.read_text())["metrics"]


def test_a_store_and_a_stop_change_no_figure(
    tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(tiny) == 0
    stored = [*tiny, "--data.features=store"]
    assert prepare(["features", *stored]) == 0
    Interrupt.trained = []
    with pytest.raises(SystemExit):
        fit([*stored, *interrupt(3, "after")])
    assert fit([*stored, "--ckpt_path=last"]) == 0
    assert results(2) == pytest.approx(results(0), abs=1e-6)
    assert fit([*stored, "--model.mixing.mixup=0.1"]) == 2
    assert "the feature store serves their tokens" in capsys.readouterr().err
    assert (
        fit(
            [
                "--config=table.yaml",
                tiny[-1],
                "--ckpt_path=last",
                "--run_folder=runs/table_fixed/new",
            ]
        )
        == 2
    )
    assert "is of the task zsl.tasks.ClassificationTask, but" in capsys.readouterr().err


def test_all_classes_are_built_into_an_export(tiny: list[str]) -> None:
    assert fit([*tiny, "--trainer.max_epochs=0"]) == 0
    checkpoint = "--checkpoint=runs/table_fixed/latest/checkpoints/best.ckpt"
    assert export([checkpoint, "--format=torch_export", "--output=out"]) == 0
    record = json.loads(Path("out", "model.json").read_text())
    assert [field["name"] for field in record["inputs"]] == ["images"]
    assert record["outputs"][0]["shape"] == ["batch", 8]
    assert record["names"][0] == "black"
    assert (record["probabilities"], record["encoder"]) == ("sigmoid", None)


def test_they_have_no_label_vectors(tiny: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert labels(tiny) == 2
    assert "has fixed classes and so no label vectors" in capsys.readouterr().err


def test_a_sweep_knows_what_they_log(tiny: list[str]) -> None:
    def check(metric: str, *more: str) -> None:
        sweeps.write(
            metric={"name": metric, "goal": "maximize"},
            command=["${env}", "${interpreter}", "-m", "${program}", "${args}"],
            parameters={"model.head.num_groups": {"values": [2, 8]}},
        )
        check_arguments(read_sweep("tiny.yaml", [*tiny, *more]))

    check("val/all/CF1@3")
    check("val/all/Acc@1", "--model.single_label=true")
    for metric in ("val/all/Acc@1", "val/zsl/mAP"):
        with pytest.raises(InputError, match="which no validation logs"):
            check(metric)
