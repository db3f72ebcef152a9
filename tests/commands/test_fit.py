"""The commands as users run them, in-process, on miniature data."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.fakes.runs import QUICK, TINY_MODEL, UNFROZEN, fit_shapes, read_csv
from zsl.commands.evaluate import main as evaluate
from zsl.commands.fit import main as fit


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
