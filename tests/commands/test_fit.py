"""The commands as users run them, in-process, on miniature data."""

import csv
import json
import re
from inspect import isabstract
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import torch
import yaml
from PIL import Image

from tests.data.test_table import cut_off_as_tiff
from zsl.commands.configs import find_config, shipped_configs, shipped_names
from zsl.commands.evaluate import main as evaluate
from zsl.commands.fit import main as fit
from zsl.commands.fit_cli import check_launcher
from zsl.commands.fit_parser import parse_config
from zsl.errors import InputError
from zsl.tasks.zero_shot import ZeroShotTask

PARTS = "tests.fakes.parts"
TINY_MODEL = [
    "--model.backbone.name=test_resnet",
    "--model.backbone.weights=null",
    "--model.backbone.stride=16",
    "--model.head.embed_dim=16",
    "--model.head.feedforward_dim=16",
]
QUICK = ["--trainer.max_epochs=1", "--trainer.accelerator=cpu"]
UNFROZEN = ["--model.backbone.frozen=false", "--model.closed_form=null"]
"""In table.yaml: a frozen backbone needs weights, the closed form a frozen backbone."""
TINY_SHAPES = [
    "--data.num_train=16",
    "--data.num_val=8",
    "--data.num_test=16",
    "--data.batch_size=8",
    "--data.images.size=32",
]


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def fit_shapes(*more: str) -> int:
    return fit(["--config=shapes.yaml", *TINY_SHAPES, *TINY_MODEL, *QUICK, *more])


@pytest.mark.draws
def test_fit_evaluates_reports_and_records(
    in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit_shapes() == 0
    run = in_tmp_path / "runs" / "shapes" / "version_0"
    output = capsys.readouterr().out
    assert f"\nZSL{24:>20}  " in output
    assert "Test on 16 images.\nProtocol all_images: every image counts" in output
    assert "Report: runs/shapes/version_0/report" in output
    best = "runs/shapes/version_0/checkpoints/best.ckpt"
    assert f'Next: python -m zsl.predict --checkpoint {best} --labels "dog, beach" IMAGES' in output
    assert max(map(len, output[output.index("\nZSL  ") :].splitlines()[:10])) <= 80

    results = json.loads((run / "results.json").read_text())
    assert results["protocol"]["num_images"] == 16
    assert results["protocol"]["num_labels"] == {"zsl": 24, "gzsl": 120, "seen": 84}
    assert {"test/zsl/mAP", "test/gzsl/F1@3", "test/seen/R@5", "test/harmonic_mAP"} <= set(
        results["metrics"]
    )
    ranked = {name for name in results["metrics"] if name.endswith("/mAP") or "@" in name}
    assert set(results["chance"]) == set(results["most_frequent"]) == ranked
    assert "test/gzsl/F1@3" in results["more_than_most_frequent"]
    assert results["versions"]["torch"] == torch.__version__.split("+")[0]
    assert len(results["data_fingerprint"]) == 16

    rows = read_csv(run / "report" / "per_class_ap.csv")
    assert len(rows) == 120
    unseen = [float(row["AP"] or 0) for row in rows if row["role"] == "unseen"]
    assert sum(unseen) / 24 == pytest.approx(results["metrics"]["test/zsl/mAP"], abs=1e-6)
    for name in ("per_class_ap", "predictions"):
        with Image.open(run / "report" / f"{name}.png") as picture:
            assert min(picture.size) > 300
    assert (run.parent / "latest").resolve() == run
    assert (run / "checkpoints" / "best.ckpt").is_file()
    assert "val/zsl/mAP" in (run / "metrics.csv").read_text()
    record = json.loads((run / "run.json").read_text())
    assert record["versions"]["zsl"]
    assert record["threads"] == torch.get_num_threads()
    assert not list(in_tmp_path.rglob(".partial*"))

    # A saved config runs again, to the same numbers.
    assert fit(["--config", str(run / "config.yaml")]) == 0
    again = json.loads((run.parent / "version_1" / "results.json").read_text())
    assert again == results
    assert (run.parent / "latest").resolve().name == "version_1"


def test_evaluate_gives_the_same_numbers_from_the_checkpoint_alone(
    in_tmp_path: Path, table_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--config=table.yaml", f"--data.root={table_root}", "--data.num_workers=0"]
    assert fit([*arguments, "--data.images.size=32", *TINY_MODEL, *QUICK, *UNFROZEN]) == 0
    run = in_tmp_path / "runs" / "table" / "version_0"
    expected = json.loads((run / "results.json").read_text())
    fitted_lines = capsys.readouterr().out.split("Test on")[1].split("Report")[0].splitlines()

    checkpoint = run / "checkpoints" / "best.ckpt"
    moved = in_tmp_path / "elsewhere" / "model.ckpt"
    moved.parent.mkdir()
    checkpoint.rename(moved)
    assert evaluate(["--checkpoint", str(moved)]) == 0
    found = json.loads((moved.parent / "model_evaluation" / "results.json").read_text())
    assert {name: found[name] for name in expected} == expected
    # The same figures; wider columns, since there are more of them.
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for line in fitted_lines[1:]:
        words = " ".join(line.split())
        assert any(found.startswith(words) for found in lines), words

    photos = table_root.rename(table_root.parent / "moved photos")
    assert evaluate(["--checkpoint", str(moved)]) == 2
    assert "does not exist; set root" in capsys.readouterr().err
    output = ["--output", "here"]
    assert evaluate(["--checkpoint", str(moved), f"--data.root={photos}", *output]) == 0
    assert json.loads(Path("here/results.json").read_text()) == found

    for change, message in (
        ("--data.rot=x", "no argument data.rot. Did you mean 'data.root'"),
        ("--data.images.sice=x", "Did you mean 'data.images.size'"),
        ("--data.images.size=64", "images.size is 64, but"),
        ("--data.images.size=0", "images.size is 0; expected 1 or more."),
        ("--data.batch_size=many", "--data.batch_size is 'many'; expected int."),
        (f"--output={moved}/below", "Not a directory"),
    ):
        again = [f"--data.root={photos}", "--checkpoint", str(moved)]
        assert evaluate([*again, change]) == 2
        assert message in capsys.readouterr().err
    (photos / "classes.csv").write_text("name,role\nred,seen\ngreen,held_out\nblue,unseen\n")
    (photos / "labels.csv").write_text("image,labels,split\nimages/0.png,red,test\n")
    assert evaluate(["--checkpoint", str(moved), f"--data.root={photos}"]) == 2
    assert "evaluate on data with the same classes" in capsys.readouterr().err


@pytest.mark.usefixtures("in_tmp_path")
def test_a_run_is_resumed_from_its_last_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    early_stop = ["--trainer.callbacks=EarlyStopping", "--trainer.callbacks.monitor=val/seen/mAP"]
    early_stop += ["--trainer.callbacks.mode=max"]
    two_epochs = "--trainer.max_epochs=2"
    assert fit_shapes(two_epochs, *early_stop, "--trainer.callbacks.stopping_threshold=-1") == 0
    last = "runs/shapes/version_0/checkpoints/last.ckpt"
    through_link = "runs/shapes/latest/checkpoints/last.ckpt"
    assert fit_shapes(two_epochs, f"--ckpt_path={through_link}") == 0
    checkpoint = torch.load(
        "runs/shapes/version_1/checkpoints/last.ckpt", map_location="cpu", weights_only=True
    )
    assert checkpoint["global_step"] == 4
    # The best of both parts is what counts, and lies in the new run's folder.
    scores = [
        float(row["val/zsl/mAP"])
        for version in (0, 1)
        for row in read_csv(Path(f"runs/shapes/version_{version}/metrics.csv"))
        if row["val/zsl/mAP"]
    ]
    (best,) = (state for name, state in checkpoint["callbacks"].items() if "BestCheckpoint" in name)
    assert len(scores) == 2
    assert best["best_model_score"].item() == pytest.approx(max(scores))
    assert best["best_model_path"] == "runs/shapes/version_1/checkpoints/best.ckpt"
    assert Path(best["best_model_path"]).is_file()
    assert torch.load(last, map_location="cpu", weights_only=True)["global_step"] == 2
    capsys.readouterr()
    assert fit_shapes("--trainer.max_epochs=20", f"--ckpt_path={last}") == 2
    assert "schedule has 10 steps, this run's has 40" in capsys.readouterr().err
    Path("cut.ckpt").write_bytes(Path(last).read_bytes()[:5000])
    assert fit_shapes("--ckpt_path=cut.ckpt") == 2
    assert "cut.ckpt can't be read" in capsys.readouterr().err


@pytest.mark.usefixtures("in_tmp_path")
def test_half_precision_trains_and_reports() -> None:
    assert fit_shapes("--trainer.precision=bf16-mixed") == 0
    results = json.loads(Path("runs/shapes/latest/results.json").read_text())
    assert results["precision"] == "bf16-mixed"


@pytest.mark.usefixtures("in_tmp_path")
def test_a_run_without_validation_says_that_it_is_not_tested(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert fit_shapes("--trainer.limit_val_batches=0") == 0
    assert "Nothing was validated, so no checkpoint was selected" in capsys.readouterr().out


def test_the_photographs_of_the_page_on_tables(in_tmp_path: Path) -> None:
    photos = in_tmp_path / "photos"
    for name in ("a/1.jpg", "a/2.jpg", "b/3.jpg"):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (60, 40), "red").save(photos / name)
    page = (Path(__file__).parents[2] / "docs" / "tables.md").read_text()
    example = page.split("photos/labels.csv    ")[1].split("```")[0]
    tables = [line.split() for line in ("photos/ " + example).splitlines()]
    labels, classes = [tables[0][1]], [tables[0][-1]]
    for line in tables[1:]:
        labels.append(line[0])
        classes.append(line[1])
    (photos / "labels.csv").write_text("\n".join(labels))
    (photos / "classes.csv").write_text("\n".join(classes))
    arguments = ["--config=table.yaml", "--data.root=photos", "--data.num_workers=0"]
    assert fit([*arguments, "--data.images.size=32", *TINY_MODEL, *QUICK, *UNFROZEN]) == 0
    assert Path("runs/table/latest/report/predictions.png").is_file()


@pytest.mark.usefixtures("in_tmp_path")
def test_wandb_overlay_logs_offline_beside_the_csv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    assert fit_shapes("--config=loggers/wandb.yaml") == 0
    assert Path("runs/shapes/version_0/metrics.csv").is_file()
    assert Path("runs/shapes/version_0/config.yaml").is_file()
    assert list(Path().glob("**/offline-run-*"))
    assert not Path("config.yaml").exists()


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


def test_none_is_null() -> None:
    arguments = ["--model.backbone.weights", "None", "--model.encoder.init_args.scale=None"]
    config = parse_config(["--config=shapes.yaml", *arguments, "--data.features", "None"])
    assert config.model.backbone.init_args.weights is None
    assert config.model.encoder.init_args.scale is None
    assert config.data.init_args.features is None


def test_configs_merge_inside_of_groups(in_tmp_path: Path) -> None:
    Path("overlay.yaml").write_text(
        "data: {init_args: {images: {cutout: 0.5}}}\n"
        "model: {head: {num_groups: 5}, augmentation: {noise: 0.1}, loss: {clip: 0.1}}\n"
    )
    Path("other.yaml").write_text("model: {head: {dropout: 0.3}, augmentation: {random: 4}}\n")
    configs = [f"--config={name}.yaml" for name in ("shapes", "overlay", "other")]
    config = parse_config([*configs, "--model.head.embed_dim=32", "--model.loss.clip=0.2"])
    head = config.model.head.init_args
    assert (head.num_groups, head.dropout, head.embed_dim) == (5, 0.3, 32)
    assert head.feedforward_dim == 1024
    assert (config.model.augmentation.noise, config.model.augmentation.random) == (0.1, 4)
    assert config.model.loss.init_args.clip == 0.2
    images = config.data.init_args.images
    assert (images.cutout, images.size, images.horizontal_flip) == (0.5, 96, True)
    other = parse_config([*configs, "--model.head=zsl.models.BilinearConfig"])
    assert not vars(other.model.head.init_args)


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


def test_help_names_the_configs_and_where_every_argument_is_explained(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert fit(["--help"]) == 0
    page = capsys.readouterr().out
    assert all(name in page for name in shipped_names())
    assert max(len(line) for line in page.splitlines()) <= 100

    explained = {}
    for flag, name in re.findall(r"(--[\w.]+\.help) ([A-Z]\w+[a-z]\w*)", page):
        with pytest.raises(SystemExit) as stopped:
            fit([flag, name])
        assert stopped.value.code == 0
        explained[name] = capsys.readouterr().out
    assert explained.keys() == {"TableDataModule", "MLDecoderConfig"}
    parts = get_type_hints(ZeroShotTask.__init__).items()
    classes = {f"--model.{name}.help" for name, kind in parts if isabstract(kind)}
    told = {*re.findall(r"--[\w.]+\.help\b", page)}
    assert told == classes | {"--data.help", "--trainer.callbacks.help"}
    assert fit(["--help_all"]) == 0
    explained["all"] = capsys.readouterr().out
    for name, line in (
        ("TableDataModule", r"--data.images.size SIZE Side [^(]* \(type: int, default: 224\)"),
        ("MLDecoderConfig", r"--model.head.dropout DROPOUT [^(]*\(type: float, default: 0.1"),
        ("all", r"--model.head.num_groups NUM_GROUPS [^(]*\(type: int . null, default: null"),
        ("all", r"--model.head.num_combined NUM_COMBINED Seen [^(]*\(type: int, default: 10\)"),
        ("all", r"--model.backbone.name NAME A model [^(]*\(type: str, default: resnet50\)"),
        ("all", r"--model.augmentation.noise NOISE Strength [^(]*\(type: float, default: 0.0\)"),
        ("all", r"--model.optimization.warmup WARMUP [^(]*\(type: float, default: 0.2\)"),
        ("all", r"--model.loss.clip CLIP Probability [^(]*\(type: float, default: 0.05\)"),
        ("all", r"--model.encoder.normalize {true,false} .*?\(type: bool, default: True\)"),
        ("all", r"--data.images.size SIZE Side [^(]*\(type: int, default: 96\)"),
        ("all", r"--trainer.max_epochs MAX_EPOCHS .*?\(type: Optional\[int\], default: null\)"),
    ):
        assert re.search(line, " ".join(explained[name].split())), line


def test_print_config_shows_the_merged_config(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        fit(["--config=shapes.yaml", "--config=loggers/wandb.yaml", "--print_config"])
    assert stopped.value.code == 0
    config = yaml.safe_load(capsys.readouterr().out)
    loggers = [logger["class_path"].split(".")[-1] for logger in config["trainer"]["logger"]]
    assert loggers == ["CSVLogger", "WandbLogger"]
    assert config["model"]["backbone"]["init_args"]["stride"] == 16
    assert config["data"]["init_args"]["num_train"] == 4000


def test_a_config_in_the_working_directory_comes_first(in_tmp_path: Path) -> None:
    assert find_config("shapes.yaml") == str(shipped_configs() / "shapes.yaml")
    (in_tmp_path / "shapes.yaml").write_text("seed_everything: 1\n")
    assert find_config("shapes.yaml") == "shapes.yaml"
    with pytest.raises(InputError, match="neither a file nor one of the shipped configs"):
        find_config("nothing.yaml")
    (in_tmp_path / "mine").mkdir()
    (in_tmp_path / "mine" / "photos.yaml").touch()
    with pytest.raises(InputError, match=r"Did you mean .mine/photos.yaml."):
        find_config("mine/fotos.yaml")
