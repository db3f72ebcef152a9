"""Parts that are defined outside of zsl, named by class path: trained, evaluated and asked."""

import json
import math
import re
from collections.abc import Callable
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.fakes.table import write_table_dataset
from zsl.commands.evaluate import main as evaluate
from zsl.commands.export import main as export
from zsl.commands.fit import main as fit
from zsl.commands.predict import main as predict
from zsl.errors import InputError
from zsl.evaluation.scoring import make_datamodule, score_checkpoint
from zsl.inference import Tagger

CONFIG = """
data:
  class_path: tests.fakes.parts.OwnDataModule
  init_args: {num_scenes: 12, batch_size: 4, num_workers: 0}
model:
  encoder: tests.fakes.parts.OwnEncoder
  backbone:
    class_path: tests.fakes.parts.OwnBackboneConfig
    init_args: {patch: 8}
  head:
    class_path: tests.fakes.parts.OwnHeadConfig
    init_args: {rank: 4}
  loss:
    class_path: tests.fakes.parts.RecordingLoss
    init_args: {scale: 0.5}
trainer:
  max_epochs: 1
  accelerator: cpu
  logger:
    - class_path: pytorch_lightning.loggers.CSVLogger
      init_args: {save_dir: runs, name: own}
checkpoint: {monitor: val/seen/mAP}
"""
CHECKPOINT = "--checkpoint=runs/own/latest/checkpoints/best.ckpt"


@pytest.fixture
def fitted(in_tmp_path: Path) -> Path:
    """The folder of a run with parts of its own only."""
    Path("own.yaml").write_text(CONFIG)
    assert fit(["--config=own.yaml", "--model.head.rank=5", "--data.images.size=24"]) == 0
    Image.fromarray(np.full((30, 30, 3), 200, np.uint8)).save("a.png")
    return in_tmp_path / "runs" / "own" / "version_0"


def test_own_parts_are_trained_evaluated_and_asked_once_they_are_trusted(
    fitted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = json.loads((fitted / "results.json").read_text())
    assert results["protocol"]["num_images"] == 12
    asked = ["a.png", "--labels=red circle, zebra", "--format=csv", "--output=told.csv"]
    commands: list[tuple[Callable[[list[str]], int], list[str]]] = [
        (evaluate, []),
        (predict, asked),
        (export, ["--format=torch_export"]),
    ]
    for command, more in commands:
        assert command([CHECKPOINT, *more]) == 2
        assert "--trust_code true" in capsys.readouterr().err
        assert command([CHECKPOINT, *more, "--trust_code=true"]) == 0
    evaluated = json.loads((fitted / "checkpoints/best_evaluation/results.json").read_text())
    assert {name: evaluated[name] for name in results} == results
    assert "zebra" in Path("told.csv").read_text()
    assert (fitted / "checkpoints" / "best_export" / "model.pt2").is_file()


def test_a_shared_tagger_with_own_parts_has_to_be_trusted_too(fitted: Path) -> None:
    tagger = Tagger.from_pretrained(fitted / "checkpoints" / "best.ckpt", trust_code=True)
    tagger.save_pretrained("shared")
    with pytest.raises(InputError, match="trust_code"):
        Tagger.from_pretrained("shared")
    again = Tagger.from_pretrained("shared", trust_code=True)
    assert again.predict("a.png", labels=["zebra"]) == tagger.predict("a.png", labels=["zebra"])


@pytest.mark.parametrize("images", [{"class_path": "stranger.X", "init_args": {}}, "stranger.X"])
def test_data_of_a_checkpoint_hides_no_class_from_outside(
    in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: Any
) -> None:
    monkeypatch.syspath_prepend(str(in_tmp_path))
    Path("stranger.py").write_text("open('executed', 'w')")
    recipe = {"class_path": "zsl.data.ShapesDataModule", "init_args": {"images": images}}
    with pytest.raises(InputError, match=r"stranger\.X"):
        make_datamodule(recipe, {})
    assert not Path("executed").exists()


def ranking_errors(scores: torch.Tensor, targets: torch.Tensor) -> float:
    """The page's metric, pair by pair; NaN where there are none."""
    wrong = [
        bool(scores[row, present] < scores[row, absent])
        for row in range(len(scores))
        for present, absent in product(range(scores.shape[1]), repeat=2)
        if targets[row, present] == 1 and targets[row, absent] == 0
    ]
    return sum(wrong) / len(wrong) if wrong else math.nan


def test_the_examples_of_the_page_run(
    in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "own_parts.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(examples) == 10
    Path("my_parts.py").write_text("\n\n".join(examples))
    Path("own.yaml").write_text(re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[0])
    monkeypatch.syspath_prepend(str(in_tmp_path))
    parts = ["--model.backbone=my_parts.PatchesConfig", "--model.encoder=my_parts.LetterEncoder"]
    parts += ["--data=my_parts.FewShapes", "--data.num_scenes=8", "--data.num_workers=0"]
    quick = ["--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--data.images.size=32"]
    configs = ["--config=shapes.yaml", "--config=own.yaml", "--model.head.bias=true"]
    assert fit([*configs, *parts, *quick]) == 0
    own_data = ["--data=my_parts.PlainColoursData", "--data.num_images=12", "--data.num_workers=0"]
    assert fit([*configs, *parts[:2], *own_data, *quick, "--run_folder=runs/colours/0"]) == 0
    my_parts = import_module("my_parts")
    best = "runs/colours/0/checkpoints/best.ckpt"
    scored = score_checkpoint(Path(best), {}, trust_code=True)
    assert scored.names[-1] == "orange"
    unseen = ranking_errors(scored.scores[:, -1:], scored.targets[:, -1:])
    assert math.isnan(unseen)  # One unseen label: there is no pair.
    assert math.isnan(my_parts.unseen_ranking_errors(best, trust_code=True))
    metric = my_parts.RankingErrors()
    for rows in (slice(5), slice(5, None)):
        positions = torch.arange(12)[rows]
        metric.update(positions, scored.scores[rows], scored.targets[rows])
    expected = ranking_errors(scored.scores, scored.targets)
    assert 0 < expected < 1
    assert metric.compute() == my_parts.ranking_errors(scored.scores, scored.targets)
    assert metric.compute().item() == pytest.approx(expected)
    root = write_table_dataset(in_tmp_path / "photos", kind="fixed")
    fixed = ["--config=table_fixed.yaml", parts[0], f"--data.root={root}", "--data.num_workers=0"]
    assert fit([*fixed, *quick, "--model.head=my_parts.BrightestHeadConfig"]) == 0
    with pytest.raises(SystemExit):
        fit(["--model.head.help", "my_parts.DotHeadConfig"])
    assert "--model.head.bias {true,false}" in capsys.readouterr().out
