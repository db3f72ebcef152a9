"""What a task learns without a step, and that training keeps it."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from sklearn.linear_model import Ridge as SklearnRidge
from torch import Tensor

from tests.fakes.parts import OwnEncoder, tiny_backbone, tiny_head
from tests.fakes.weights import write_weights
from zsl.data import ImageConfig, Split, TableDataModule
from zsl.errors import InputError
from zsl.files.checkpoints import read_checkpoint
from zsl.labels import Role
from zsl.models import ClosedFormConfig, ScoresConfig
from zsl.tasks import OptimizationConfig, ZeroShotTask, ridge
from zsl.tasks.callbacks import BestCheckpoint, LastCheckpoint
from zsl.tasks.preparation import TrainingImages, keep_sample, measure_log_odds
from zsl.tasks.zero_shot import _HEAD_WEIGHTS

UNTRAINED = ("network.scores.", "network.closed_form.")
BOTH: dict[str, Any] = {
    "closed_form": ClosedFormConfig(local_tokens=2),
    "scores": ScoresConfig(sample=12),
}
AVERAGED = OptimizationConfig(learning_rate=1e-2, ema_decay=0.5)


@pytest.fixture
def data(table_root: Path) -> TableDataModule:
    """Twenty training images, ten to validate and ten to test, of 32 pixels."""
    return make_data(table_root)


def make_data(root: Path, **arguments: Any) -> TableDataModule:
    images = ImageConfig(size=32, horizontal_flip=True)
    return TableDataModule(
        str(root), images=images, **{"batch_size": 8, "num_workers": 0, **arguments}
    )


def make_task(data: TableDataModule, frozen: bool = True, **parts: Any) -> ZeroShotTask:
    pl.seed_everything(0)
    weights = str(write_weights(Path(data.hparams["root"]) / "weights.pth"))
    defaults: dict[str, Any] = {
        "backbone": tiny_backbone(weights=weights, frozen=frozen),
        "head": tiny_head(),
        "optimization": OptimizationConfig(learning_rate=1e-2),
    }
    parts = {**defaults, **BOTH, **parts}
    return ZeroShotTask(data.vocabulary, data.image_size, OwnEncoder(), **parts)


def make_trainer(folder: Path, *callbacks: pl.Callback, **changes: Any) -> pl.Trainer:
    best = BestCheckpoint(folder, "best", monitor="val/zsl/mAP", mode="max")
    arguments: dict[str, Any] = {
        "max_epochs": 2,
        "logger": False,
        "callbacks": [best, LastCheckpoint(), *callbacks],
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "accelerator": "cpu",
    }
    return pl.Trainer(**{**arguments, **changes})


def untrained(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in tensors.items() if name.startswith(UNTRAINED)}


def saved(folder: Path, name: str = "last") -> dict[str, Any]:
    return torch.load(folder / f"{name}.ckpt", weights_only=False)


def restored_from(path: Path | str) -> ZeroShotTask:
    return ZeroShotTask.restore(read_checkpoint(path), trust_code=True)


@pytest.fixture
def solved(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Has an item for each time that a closed form was solved."""
    times: list[int] = []
    solve = ridge.ClosedFormFit.solve

    def counted(self: Any) -> Any:
        times.append(1)
        return solve(self)

    monkeypatch.setattr(ridge.ClosedFormFit, "solve", counted)
    return times


@pytest.mark.parametrize("averaged", [False, True])
def test_it_is_solved_once_and_stays_through_the_training(
    data: TableDataModule, tmp_path: Path, solved: list[int], averaged: bool
) -> None:
    class Watch(pl.Callback):
        def on_validation_batch_start(self, trainer: pl.Trainer, task: Any, *_: Any) -> None:
            seen.append({n: t.clone() for n, t in untrained(task.state_dict()).items()})

    seen: list[dict[str, Tensor]] = []
    optimization = AVERAGED if averaged else OptimizationConfig(learning_rate=1e-2)
    task = make_task(data, optimization=optimization)
    trainer = make_trainer(tmp_path, Watch())
    trainer.fit(task, data)
    assert len(solved) == 1
    first = seen[0]  # Of the sanity check, before the first step.
    assert len(seen) >= 3
    assert all(first[name].any() for name in first)
    names = first.keys() - {"network.scores.weights"}
    for tensors in (
        *seen,
        task.state_dict(),
        *(saved(tmp_path, n)["state_dict"] for n in ("last", "best")),
    ):
        for name in names:
            assert torch.equal(tensors[name], first[name]), name
    # A weight of zero is among the choices.
    weights = [
        saved(tmp_path)["state_dict"]["network.scores.weights"],
        task.network.get_buffer("scores.weights"),
    ]
    assert torch.equal(*weights)
    assert float(weights[0][0]) in _HEAD_WEIGHTS
    restored = restored_from(tmp_path / "best.ckpt")
    (metrics,) = make_trainer(tmp_path / "no").validate(restored, data, verbose=False)
    best = trainer.checkpoint_callback
    assert isinstance(best, BestCheckpoint)
    assert best.best_model_score is not None
    assert metrics["val/zsl/mAP"] == pytest.approx(float(best.best_model_score), abs=1e-6)
    assert len(solved) == 1
    # The test of the fit and that of its checkpoint.
    task.load_state_dict(read_checkpoint(tmp_path / "best.ckpt").tensors)
    found = [
        make_trainer(tmp_path / "no").test(part, data, verbose=False)[0]
        for part in (task, restored)
    ]
    assert found[0] == pytest.approx(found[1], abs=1e-6)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_resumed_run_is_the_unbroken_one_to_the_last_digit(
    data: TableDataModule, tmp_path: Path, frozen: bool, solved: list[int]
) -> None:
    class Stop(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
            trainer.should_stop = trainer.current_epoch == 0

    def fit(folder: Path, *callbacks: pl.Callback) -> dict[str, Any]:
        own = make_data(Path(data.hparams["root"]))
        parts = {} if frozen else {"closed_form": None}
        task = make_task(own, frozen, optimization=AVERAGED, **parts)
        last = folder / "last.ckpt"
        trainer = make_trainer(folder, *callbacks, max_epochs=3)
        trainer.fit(task, own, ckpt_path=last if last.exists() else None)
        state = saved(folder)
        assert state["epoch"] == 2 or callbacks
        return state["state_dict"] | {
            f"current.{n}": t for n, t in state["current_model_state"].items()
        }

    whole = fit(tmp_path / "whole")
    fit(tmp_path / "parts", Stop())
    resumed = fit(tmp_path / "parts")
    assert len(solved) == (2 if frozen else 0)
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


@pytest.mark.parametrize("averaged", [False, True])
def test_the_sample_is_that_of_the_weights_it_is_saved_with(
    data: TableDataModule, tmp_path: Path, averaged: bool
) -> None:
    optimization = AVERAGED if averaged else OptimizationConfig(learning_rate=1e-2)
    task = make_task(data, False, closed_form=None, optimization=optimization)
    make_trainer(tmp_path).fit(task, data)
    for name in ("best", "last"):
        restored = restored_from(tmp_path / f"{name}.ckpt").eval()
        scores = restored.network.scores
        assert scores is not None
        expected = scores.sample.clone()
        with torch.inference_mode():
            keep_sample(scores, TrainingImages(data, restored.tokens))
        torch.testing.assert_close(scores.sample, expected, rtol=1e-2, atol=1e-3)
    assert not task.network.backbone.frozen
    assert task.network.backbone.training


def test_to_prepare_changes_no_statistics_of_a_trained_backbone(
    data: TableDataModule, tmp_path: Path
) -> None:
    kept: list[dict[str, Tensor]] = []
    for parts in ({"closed_form": None}, {"closed_form": None, "scores": None}):
        task = make_task(data, False, **parts)
        make_trainer(tmp_path / str(len(kept)), limit_val_batches=0, max_epochs=1).fit(task, data)
        kept.append(task.network.backbone.state_dict())
    assert all(torch.equal(value, kept[1][name]) for name, value in kept[0].items())


def test_without_training_it_is_solved_for_the_first_validation(
    data: TableDataModule, tmp_path: Path
) -> None:
    task = make_task(data, head=ClosedFormConfig(2, own_classes=False), closed_form=None)
    trainer = make_trainer(tmp_path, max_epochs=0)
    (metrics,) = trainer.validate(task, data, verbose=False)
    assert task.closed_forms[0].map.any()
    best = trainer.checkpoint_callback
    assert isinstance(best, BestCheckpoint)
    best.keep(trainer)
    restored = restored_from(best.best_model_path)
    (again,) = make_trainer(tmp_path / "no").validate(restored, data, verbose=False)
    assert again == metrics
    with pytest.raises(InputError, match="has nothing to train"):
        make_trainer(tmp_path / "no").fit(task, data)


def test_the_head_takes_part_only_where_it_helps(data: TableDataModule, tmp_path: Path) -> None:
    """Beside a head that scores at random, the figures are those of the closed form alone."""
    alone = make_task(data, head=ClosedFormConfig(0), closed_form=None)
    (expected,) = make_trainer(tmp_path).validate(alone, data, verbose=False)
    task = make_task(data, closed_form=ClosedFormConfig(0))
    (found,) = make_trainer(tmp_path).validate(task, data, verbose=False)
    assert task.network.get_buffer("scores.weights").tolist() == [0, 1]
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "16-true"])
def test_half_precision_learns_nearly_the_same(
    data: TableDataModule, tmp_path: Path, precision: Any
) -> None:
    found = []
    for used in ("32-true", precision):
        task = make_task(data)
        make_trainer(tmp_path, precision=used).validate(task, data, verbose=False)
        found.append(
            task.float().network(data.plain_dataset(Split.TEST)[0]["image"][None]).detach()
        )
    torch.testing.assert_close(found[1], found[0], rtol=0.2, atol=0.3)


def test_labels_are_counted_and_others_predicted(data: TableDataModule, tmp_path: Path) -> None:
    task = make_task(data)
    scores = task.network.scores
    assert scores is not None
    images = TrainingImages(data, task.tokens)
    measure_log_odds(scores, images)
    targets = torch.stack([images.dataset.target(i) for i in range(20)])[:, :4]
    counts = (targets == 1).sum(dim=0)
    expected = torch.log((counts + 0.5) / (20 - counts + 0.5))
    torch.testing.assert_close(scores.seen_log_odds, expected)
    vectors = F.normalize(task.queries(Role.SEEN, Role.UNSEEN), dim=1)
    predicted = SklearnRidge(3.0).fit(vectors[:4], expected).predict(vectors[4:])
    found = scores.log_odds(task.queries(Role.SEEN, Role.UNSEEN))
    torch.testing.assert_close(found[:4], expected)
    torch.testing.assert_close(found[4:], torch.tensor(predicted).float(), rtol=1e-4, atol=1e-4)


def test_images_that_are_dropped_have_no_part(table_root: Path) -> None:
    lines = (table_root / "labels.csv").read_text().splitlines()
    empty = [line.split(",")[0] + ",,train" for line in lines[1:] if line.endswith("train")][:5]
    kept = [line for line in lines if line.split(",")[0] + ",,train" not in empty]
    (table_root / "labels.csv").write_text("\n".join([*kept, *empty]) + "\n")
    for unlabelled, size in (("keep", 20), ("drop", 15)):
        data = make_data(table_root, unlabelled=unlabelled)
        images = TrainingImages(data, make_task(data).tokens)
        rows = [int(row) for batch, _ in images.batches(images.rows, "") for row in batch["index"]]
        assert len(set(rows)) == len(rows) == size
        assert sorted(images.drawn()) == sorted(rows)
        has_label = [bool((images.dataset.target(row)[:4] == 1).any()) for row in rows]
        assert all(has_label) is (unlabelled == "drop")


def test_parts_that_do_not_go_together_are_refused(data: TableDataModule, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"backbone is trained; set backbone.frozen true, or"):
        make_task(data, frozen=False)
    task = make_task(data)
    data.setup("fit")
    with pytest.raises(InputError, match="give the trainer a data module in place of loaders"):
        make_trainer(tmp_path).fit(task, data.train_dataloader(), data.val_dataloader())
