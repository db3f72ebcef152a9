"""Every overlay of a baseline: fitted on miniature data, evaluated, restored."""

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import torch.nn.functional as F

from tests.fakes.towers import make_pair, write_pair
from tests.fakes.weights import write_weights
from zsl.commands.configs import shipped_names
from zsl.commands.evaluate import main as evaluate
from zsl.commands.fit import main as fit
from zsl.commands.prepare import main as prepare
from zsl.data import ImageConfig, TableDataModule
from zsl.files.checkpoints import read_checkpoint
from zsl.labels import Role
from zsl.tasks.zero_shot import ZeroShotTask

OVERLAYS = [name for name in shipped_names() if name.startswith("baselines/")]


def arguments(overlay: str, root: Path, folder: Path) -> list[str]:
    """Arguments that run an overlay of table.yaml with a tiny model of the same kind."""
    tiny = ["--config=table.yaml", f"--config={overlay}", f"--data.root={root}"]
    tiny += ["--data.images.size=32", "--data.batch_size=8", "--data.num_workers=0"]
    tiny += ["--trainer.accelerator=cpu"]
    if overlay == "baselines/clip.yaml":
        weights = write_pair(folder / "pair.pt")
        return [*tiny, "--model.backbone.name=tiny-clip", f"--model.backbone.weights={weights}"]
    weights = write_weights(folder / "weights.pt")
    tiny += ["--model.backbone.name=test_resnet", f"--model.backbone.weights={weights}"]
    if overlay in ("baselines/pooled.yaml", "baselines/published.yaml"):
        tiny += ["--model.head.embed_dim=16", "--model.head.feedforward_dim=16"]
    if overlay == "baselines/closed_form.yaml":
        return tiny
    return [*tiny, "--trainer.max_epochs=2"]


@pytest.fixture
def run(in_tmp_path: Path) -> Path:
    return in_tmp_path / "runs" / "table" / "latest"


def results(path: Path) -> dict[str, float]:
    return json.loads((path / "results.json").read_text())["metrics"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_fits_and_evaluates(
    overlay: str, run: Path, table_root: Path, tmp_path: Path
) -> None:
    assert fit(arguments(overlay, table_root, tmp_path)) == 0
    assert evaluate([f"--checkpoint={run}/checkpoints/best.ckpt"]) == 0
    assert results(run / "checkpoints" / "best_evaluation") == results(run)
    assert "val/zsl/mAP" in (run / "metrics.csv").read_text()
    for file in ("config.yaml", "run.json", "report/per_class_ap.csv", "report/predictions.png"):
        assert (run / file).is_file()


@pytest.mark.parametrize("overlay", ["baselines/pooled.yaml", "baselines/clip.yaml"])
def test_a_store_of_tokens_gives_the_same_numbers(
    overlay: str, run: Path, table_root: Path, tmp_path: Path
) -> None:
    plain = [*arguments(overlay, table_root, tmp_path), "--config=data/features.yaml"]
    assert fit(plain) == 0
    expected = results(run)
    assert prepare(["features", *plain, "--data.features=store"]) == 0
    assert fit([*plain, "--data.features=store"]) == 0
    assert results(run) == expected


def test_clip_is_the_cosines_of_open_clip(run: Path, table_root: Path, tmp_path: Path) -> None:
    plain = arguments("baselines/clip.yaml", table_root, tmp_path)
    assert fit([*plain, "--model.scores=null"]) == 0
    task = ZeroShotTask.restore(read_checkpoint(run / "checkpoints" / "best.ckpt")).eval()
    own = ImageConfig(32, "bicubic", 1.0)
    data = TableDataModule(str(table_root), images=own, num_workers=0)
    data.setup("test")
    images = next(iter(data.test_dataloader()))["image"]
    model: Any = make_pair("tiny-clip", tmp_path / "pair.pt")
    tokenizer = open_clip.get_tokenizer("tiny-clip")
    templates = open_clip.SIMPLE_IMAGENET_TEMPLATES
    with torch.no_grad():
        text = open_clip.build_zero_shot_classifier(
            model, tokenizer, data.vocabulary.names, templates
        )
        tokens = task.network.backbone(images)
        embeddings = model.encode_image(task.network.backbone.normalised(images), normalize=True)  # type: ignore[operator]
        cosines = F.normalize(tokens[:, 1:], dim=2) @ text
        parts = cosines.sort(dim=1, descending=True).values[:, :16].mean(dim=1)
        expected = model.logit_scale.exp() * (embeddings @ text + parts) / 2
        logits = task(images, task.queries(Role.SEEN, Role.UNSEEN))
    # A frozen backbone rounds to float16.
    torch.testing.assert_close(logits, expected, rtol=0, atol=0.02)


def test_without_an_epoch_any_head_is_tested_as_it_was_drawn(
    run: Path, table_root: Path, tmp_path: Path
) -> None:
    plain = arguments("baselines/conse.yaml", table_root, tmp_path)
    assert fit([*plain, "--trainer.max_epochs=0", "--model.optimization.ema_decay=0.9"]) == 0
    assert evaluate([f"--checkpoint={run}/checkpoints/best.ckpt"]) == 0
    assert results(run / "checkpoints" / "best_evaluation") == results(run)


@pytest.mark.parametrize(
    ("overlay", "changes", "message"),
    [
        ("conse", ["--model.augmentation.dropout=0.5"], "dropout is 0.5, but the head ConSE"),
        ("fast0tag", ["--model.loss=hinge"], "There is no class hinge."),
        ("clip", ["--trainer.max_epochs=3"], "max_epochs is 3; set it to 0"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(
    overlay: str,
    changes: list[str],
    message: str,
    in_tmp_path: Path,
    table_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain = arguments(f"baselines/{overlay}.yaml", table_root, tmp_path)
    assert fit([*plain, *changes]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
