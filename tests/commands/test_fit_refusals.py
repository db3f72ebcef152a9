"""What `zsl.fit` refuses: one sentence, before the training, and nothing is left."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.data.test_table import cut_off_as_tiff
from tests.fakes.runs import PARTS, QUICK, TINY_MODEL, UNFROZEN, fit_shapes
from zsl.commands.fit import main as fit
from zsl.commands.fit_cli import check_launcher
from zsl.errors import InputError


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config=shape.yaml"], "Did you mean 'shapes.yaml'"),
        (["--config"], "--config has no value; add one."),
        (["--config=latin.yaml"], "can't decode"),
        (["--config=broken.yaml"], "broken.yaml is not YAML: "),
        (["--data.images=null"], "--data.images is null; expected its fields by name"),
        (["--config=null.yaml"], "--model.optimization is None; expected its fields by name"),
        (["--model.num_groups=1"], "Did you mean 'model.head.num_groups'?"),
        (["--model.backbone=resnet50"], "Did you mean --model.backbone.name resnet50?"),
        (["--config=typo.yaml"], "optimization.leraning_rate. Did you mean 'model.optimization.le"),
        (
            ["--modl.head.dropout=1"],
            "There is no argument modl.head.dropout. Did you mean 'model.h",
        ),
        (["--model.head.num_grups=1"], "Did you mean 'model.head.num_groups'"),
        (["--model.augmentation.noize=1"], "Did you mean 'model.augmentation.noise'"),
        (["--data.images.sice=1"], "argument data.images.sice. Did you mean 'data.images.size'"),
        (["--trainer.max_epoch=1"], "Did you mean 'trainer.max_epochs'"),
        ([f"--model.head={PARTS}.OwnHeadConfig", "--model.head.ranc=1"], "mean 'model.head.rank'"),
        (["--model.optimization.optimizer=sdg"], "optimizer is 'sdg'; expected adamw, adam, or"),
        (["--model.backbone.stride=wide"], "stride is 'wide'; expected int or null."),
        (["--data.images.size=big"], "--data.images.size is 'big'; expected int."),
        (["--trainer.precision=17"], "trainer.precision is '17'; expected"),
        (["--model.head=BilinearConf"], "Did you mean 'zsl.models.BilinearConfig'"),
        (["--model.head=zsl.losses.RankingLoss"], "RankingLoss, which is not a HeadConfig"),
        (["--model.head=nowhere.Head"], "nowhere.Head can't be made (No module named 'nowhere')"),
        (["--data=zsl.data.Shape"], "Did you mean 'zsl.data.ShapesDataModule'"),
        (["--model.head.dropout=2"], "head.dropout is 2.0; expected 0 to below 1."),
        (["--model.augmentation.dropout=2"], "augmentation.dropout is 2.0; expected 0 to below 1."),
        (["--data.images.size=0"], "images.size is 0; expected 1 or more."),
        (["--data.batch_size=0"], "batch_size is 0; expected 1 or more."),
        (["--trainer.accelerator=abacus"], "trainer: You selected an invalid accelerator"),
        (["--ckpt_path=none.ckpt"], "none.ckpt does not exist"),
        (["--ckpt_path=best"], "best does not exist"),
        (["--ckpt_path="], "--ckpt_path is empty"),
        (["--ckpt_path=last"], "there is no */checkpoints/last.ckpt in runs/shapes; leave it out"),
        (["--ckpt_path=last", "--trainer.logger=false"], "trainer.logger does not tell"),
        (["--ckpt_path=last", "--trainer.max_epochs=0"], "so no run can be resumed"),
        (
            ["--trainer.max_epochs=0", "--trainer.limit_val_batches=0"],
            "all that the model learns it learns in the validation",
        ),
        (
            ["--model.backbone.weights=null", "--model.backbone.frozen=true"],
            "frozen is true, but model.backbone.weights is null",
        ),
        (["--checkpoint.monitor=null"], "checkpoint.monitor is not set"),
        (
            ["--task=zsl.tasks.ClassificationTask"],
            "is a setting of zsl.tasks.ZeroShotTask, but the task is zsl.tasks.ClassificationTask",
        ),
    ],
)
def test_errors_are_one_sentence(
    in_tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    (in_tmp_path / "typo.yaml").write_text("model:\n  optimization:\n    leraning_rate: 1\n")
    (in_tmp_path / "null.yaml").write_text("model:\n  optimization: null\n")
    (in_tmp_path / "latin.yaml").write_bytes("# é\nmodel: {}\n".encode("latin-1"))
    (in_tmp_path / "broken.yaml").write_text("model: [\n")
    assert message in error_of(capsys, "--config=shapes.yaml", *arguments)


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line in which `zsl.fit` says what is wrong."""
    assert fit(list(arguments)) == 2
    lines = capsys.readouterr().err.removeprefix("Seed set to 0\n").strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert not Path("runs").exists()
    return lines[0]


@pytest.mark.usefixtures("in_tmp_path")
def test_missing_data_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    Path("photos").mkdir()
    Path("tags.csv").write_text("image,tags\na.jpg,dog\n")
    for arguments, message in (
        (["--config=table.yaml", "--data.root=photos"], "prepare table --root"),
        (["--config=tags.csv"], "tags.csv is not a config: expected settings by name"),
        (["--config=table.yaml"], "data.root is not set; add --data.root VALUE, or a --config"),
        (["--config=table.yaml", "--data.root=/nowhere"], "data folder /nowhere does not exist"),
        (["--config=data/features.yaml"], "--data names no MultiLabelDataModule; add a --config"),
        (
            ["--seed_everything=1"],
            "model.encoder is not set; add --model.encoder VALUE, or a --con",
        ),
    ):
        assert message in error_of(capsys, *arguments)


@pytest.mark.usefixtures("in_tmp_path")
def test_a_monitor_that_is_not_measured_is_refused_before_the_training(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert fit_shapes("--checkpoint.monitor=val/zsl/map") == 2
    captured = capsys.readouterr()
    assert "does not log 'val/zsl/map'. Did you mean 'val/zsl/mAP'" in captured.err
    assert "train/loss" not in captured.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trainer.max_epochs=-1", "--trainer.max_time=00:00:01:00"], "no end that is known in"),
        (["--trainer.max_steps=0"], "no step, with trainer.max_steps 0"),
        (["--trainer.limit_train_batches=0.0"], "and limit_train_batches 0.0; raise"),
        (["--trainer.precision=bf16-true"], "expected bf16-mixed, or 32-true"),
        (["--trainer.sync_batchnorm=true"], "batch norm over several devices needs GPUs; leave"),
        (["--trainer.callbacks=EarlyStopping", "--trainer.callbacks.monitor=val/x"], "log 'val/x'"),
    ],
)
def test_a_refused_run_leaves_nothing(
    in_tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert fit_shapes(*arguments) == 2
    assert message in capsys.readouterr().err
    assert not list(in_tmp_path.iterdir())
    (in_tmp_path / "runs/shapes/version_0").mkdir(parents=True)
    (in_tmp_path / "runs/shapes/latest").symlink_to("version_0")
    assert fit_shapes(*arguments) == 2
    assert (in_tmp_path / "runs/shapes/latest").readlink() == Path("version_0")
    assert [path.name for path in (in_tmp_path / "runs").rglob("version_*")] == ["version_0"]


def test_a_run_that_can_not_be_compiled_leaves_nothing(
    in_tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def compile_nothing(function: Any) -> Any:
        raise RuntimeError("No working C++ compiler found\nin the path")

    monkeypatch.setattr(torch, "compile", compile_nothing)
    assert fit_shapes("--compile=true") == 2
    message = "can't compile for cpu here (No working C++ compiler found); install a C++ compiler"
    assert message in capsys.readouterr().err
    assert not list(in_tmp_path.iterdir())


@pytest.mark.parametrize(
    "environment",
    [
        {"TORCHELASTIC_RUN_ID": "run", "WORLD_SIZE": "4"},
        {"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4", "SLURM_JOB_NAME": "shapes"},
    ],
)
def test_a_launcher_starts_as_many_processes_as_there_are_devices(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    check_launcher(devices=2, nodes=2)
    with pytest.raises(InputError, match=r"started 4 processes, but .* is 1 × 1; set"):
        check_launcher(devices=1, nodes=1)
    # As in a script of sbatch, or a shell that srun started.
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS", raising=False)
    check_launcher(devices=1, nodes=1)


@pytest.mark.usefixtures("in_tmp_path")
@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_unreadable_image_ends_the_run_in_one_sentence(
    table_root: Path, capsys: pytest.CaptureFixture[str], num_workers: int
) -> None:
    path = table_root / "images" / "0.png"
    cut_off_as_tiff(path)
    data = [f"--data.root={table_root}", f"--data.num_workers={num_workers}"]
    size = "--data.images.size=32"
    assert fit(["--config=table.yaml", *data, size, *TINY_MODEL, *QUICK, *UNFROZEN]) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(error) == 1
    assert f"The image {path} can't be read" in error[0]
