import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from zsl.data import ShapesDataModule, TableDataModule
from zsl.errors import InputError
from zsl.files.checkpoints import read_checkpoint
from zsl.labels import Role, SentenceEncoder
from zsl.models import group_labels
from zsl.tasks.zero_shot import ZeroShotTask

NO_CHECKPOINTS: dict[str, Any] = {"callbacks": [], "enable_checkpointing": False}


def make_data(**changes: Any) -> ShapesDataModule:
    arguments = {"num_train": 24, "num_val": 12, "num_test": 12, "batch_size": 6, "image_size": 32}
    return ShapesDataModule(**{**arguments, "num_workers": 0, **changes})


def make_task(data: ShapesDataModule | TableDataModule, **changes: Any) -> ZeroShotTask:
    pl.seed_everything(0)
    arguments: dict[str, Any] = {
        "backbone": "test_resnet",
        "weights": None,
        "stride": 16,
        "embed_dim": 16,
        "feedforward_dim": 16,
        "learning_rate": 1e-2,
    }
    return ZeroShotTask(
        data.vocabulary, data.image_size, SentenceEncoder(), **{**arguments, **changes}
    )


def make_trainer(folder: Path, **changes: Any) -> pl.Trainer:
    arguments: dict[str, Any] = {
        "max_epochs": 2,
        "logger": False,
        "callbacks": [ModelCheckpoint(folder, "best", monitor="val/zsl/mAP", mode="max")],
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "accelerator": "cpu",
    }
    return pl.Trainer(**{**arguments, **changes})


def test_vectors_of_each_role_are_a_buffer() -> None:
    data = make_data()
    task = make_task(data)
    assert task.get_buffer("seen_vectors").shape == (84, 384)
    assert task.get_buffer("held_out_vectors").shape == (12, 384)
    assert task.get_buffer("unseen_vectors").shape == (24, 384)
    names = data.vocabulary.select(Role.UNSEEN, Role.SEEN)
    expected = SentenceEncoder().encode(names)
    torch.testing.assert_close(task.queries(Role.UNSEEN, Role.SEEN), expected)


def test_training_never_asks_held_out_or_unseen_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_data()
    task = make_task(data)
    asked: list[tuple[int, ...]] = []
    loss = task.loss.forward

    def record(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        asked.append((*logits.shape, *targets.shape))
        return loss(logits, targets)

    monkeypatch.setattr(task.loss, "forward", record)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    monkeypatch.setattr(task, "log", lambda *args, **kwargs: None)
    first = task.training_step(batch)
    assert asked == [(6, 84, 6, 84)]
    others = [task.columns[Role.HELD_OUT], task.columns[Role.UNSEEN]]
    batch["target"][:, [column for columns in others for column in columns]] = 1
    torch.manual_seed(0)
    second = task.eval().training_step(batch)
    batch["target"][:, [column for columns in others for column in columns]] = 0
    torch.testing.assert_close(task.eval().training_step(batch), second)
    assert first.requires_grad


def test_groups_are_made_of_the_seen_labels_alone() -> None:
    data = make_data()
    task = make_task(data, num_groups=7)
    expected = group_labels(task.queries(Role.SEEN), 7)
    assert torch.equal(task.get_buffer("tagger.decoder.group_queries"), expected)
    many = make_task(data, num_groups=200)
    assert len(many.get_buffer("tagger.decoder.group_queries")) == 84
    with pytest.raises(InputError, match="0 groups can't be made of 84 labels"):
        make_task(data, num_groups=0)


def test_the_span_is_that_of_the_seen_labels_alone() -> None:
    task = make_task(make_data(), seen_span=True)
    span, seen = task.get_buffer("tagger.decoder.span"), task.queries(Role.SEEN)
    assert span.shape[1] == torch.linalg.matrix_rank(seen)
    torch.testing.assert_close(seen @ span @ span.T, seen, rtol=1e-3, atol=1e-4)


def test_weight_decay_is_off_for_one_dimensional_parameters(tmp_path: Path) -> None:
    data = make_data()
    task = make_task(data, freeze_backbone=True, weight_decay=0.3)
    trainer = make_trainer(tmp_path, fast_dev_run=1)
    trainer.fit(task, data)
    decayed, plain = trainer.optimizers[0].param_groups
    assert decayed["weight_decay"] == 0.3
    assert plain["weight_decay"] == 0
    assert all(p.ndim > 1 for p in decayed["params"])
    assert all(p.ndim <= 1 for p in plain["params"])
    count = sum(p.numel() for group in (decayed, plain) for p in group["params"])
    assert count == sum(p.numel() for p in task.tagger.decoder.parameters())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ema_decay": 0.5},
        {"ema_decay": 0.5, "num_groups": 7, "seen_span": True},
        {"seen_span": True, "query_relu": False},
        {"head": "bilinear"},
        {"head": "fast0tag", "loss": "ranking", "ema_decay": 0.5},
        {"head": "conse", "query_noise": 0.0, "ema_decay": 0.5},
        {"pool_tokens": True, "num_groups": 7},
    ],
)
def test_a_checkpoint_is_self_contained_and_tests_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    data = make_data()
    task = make_task(data, **{"query_noise": 0.1, **options})
    trainer = make_trainer(tmp_path)
    trainer.fit(task, data)
    logged = trainer.logged_metrics
    assert {"val/zsl/mAP", "val/seen/mAP", "val/gzsl/F1@3", "val/harmonic_mAP"} <= set(logged)

    def refuse(*args: Any) -> None:
        raise AssertionError("an encoder or pretrained weights were read")

    monkeypatch.setattr(SentenceEncoder, "embed", refuse)
    monkeypatch.setenv("ZSL_CACHE", str(tmp_path / "no_cache"))
    restored = ZeroShotTask.from_checkpoint(tmp_path / "best.ckpt")
    assert restored.vocabulary == data.vocabulary
    assert restored.encoder.recipe == task.encoder.recipe
    for name, buffer in task.named_buffers():
        if name.endswith(("vectors", "queries", "span")):
            assert torch.equal(restored.get_buffer(name), buffer), name

    # The validation of the restored weights gives the number by which they were chosen.
    (metrics,) = make_trainer(tmp_path).validate(restored, data, verbose=False)
    best = trainer.checkpoint_callback
    assert isinstance(best, ModelCheckpoint)
    assert best.best_model_score is not None
    assert metrics["val/zsl/mAP"] == pytest.approx(best.best_model_score.item(), abs=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"head": "bilinear"},
        {"head": "fast0tag", "loss": "ranking"},
        {"head": "conse"},
        {"pool_tokens": True},
    ],
)
def test_a_restored_baseline_gives_the_same_logits(tmp_path: Path, options: dict[str, Any]) -> None:
    data = make_data(num_train=6)
    task = make_task(data, **options)
    trainer = make_trainer(tmp_path, max_epochs=1, limit_val_batches=0, **NO_CHECKPOINTS)
    trainer.fit(task, data)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    restored = ZeroShotTask.from_checkpoint(tmp_path / "last.ckpt").eval()
    images, queries = torch.rand(4, 3, 32, 32), task.queries(*Role)
    assert torch.equal(restored(images, queries), task.eval()(images, queries))


def test_resuming_gives_the_uninterrupted_run(tmp_path: Path) -> None:
    class Stop(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            trainer.should_stop = trainer.current_epoch == 0

    data = make_data(num_train=6, horizontal_flip=False)

    def fit(folder: Path, stop: bool) -> ZeroShotTask:
        # One batch per epoch: the order of images can't differ.
        task = make_task(data, dropout=0.0, ema_decay=0.5)
        callbacks: list[pl.Callback] = [ModelCheckpoint(folder, save_last=True)]
        trainer = make_trainer(folder, max_epochs=3, callbacks=callbacks + [Stop()] * stop)
        last = folder / "last.ckpt"
        trainer.fit(task, data, ckpt_path=last if last.exists() else None)
        return task

    whole = fit(tmp_path / "whole", stop=False)
    fit(tmp_path / "parts", stop=True)
    resumed = fit(tmp_path / "parts", stop=False)
    images = torch.rand(4, 3, 32, 32)
    expected, found = (
        task.eval()(images, task.queries(*Role)).detach() for task in (whole, resumed)
    )
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert whole.trainer.global_step == resumed.trainer.global_step == 3


def test_resuming_with_other_labels_is_refused(tmp_path: Path, table_root: Path) -> None:
    data = make_data()
    trainer = make_trainer(tmp_path, max_epochs=1)
    trainer.fit(make_task(data), data)
    other = TableDataModule(str(table_root), image_size=32, num_workers=0)
    with pytest.raises(InputError, match="was trained with Vocabulary"):
        make_trainer(tmp_path).fit(
            make_task(other), other, ckpt_path=tmp_path / "best.ckpt", weights_only=True
        )


def test_unreadable_checkpoints_are_refused(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_checkpoint(tmp_path / "none.ckpt")
    for content in (b"", b"text", b"PK\x03\x04 half of a zip file"):
        (tmp_path / "bad.ckpt").write_bytes(content)
        with pytest.raises(InputError, match="damaged, incomplete, or no checkpoint"):
            read_checkpoint(tmp_path / "bad.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(InputError, match="it holds no labels"):
        read_checkpoint(tmp_path / "other.ckpt")
    parts: list[tuple[dict[str, Any], str]] = [
        ({"zsl": 3, "state_dict": {}}, "labels"),
        ({"zsl": {}}, "weights"),
        ({"zsl": {}, "state_dict": {}}, "settings"),
    ]
    for part, missing in parts:
        torch.save(part, tmp_path / "part.ckpt")
        with pytest.raises(InputError, match=f"it holds no {missing}"):
            read_checkpoint(tmp_path / "part.ckpt")
    with pytest.raises(InputError, match=r"x\.ckpt does not exist"):
        read_checkpoint(tmp_path / f"{'x' * 300}.ckpt")
    (tmp_path / "data.ckpt").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(InputError, match="can't be read"):
        read_checkpoint(tmp_path / "data.ckpt")
    assert not recwarn.list
    torch.save({"zsl": Path("code can hide in a pickle")}, tmp_path / "pickle.ckpt")
    with pytest.raises(InputError, match="can't be read"):
        read_checkpoint(tmp_path / "pickle.ckpt")


@pytest.mark.parametrize("num_groups", [None, 5])
def test_augmented_queries_are_trained_along_their_ramp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_groups: int | None
) -> None:
    task = make_task(
        make_data(),
        num_groups=num_groups,
        query_noise=0.3,
        query_rotation=0.3,
        query_dropout=0.5,
        random_queries=10,
        random_query_target="uncertain",
        mixed_queries=6,
        neighbour_queries=4,
        query_ramp=0.5,
    )
    asked: list[int] = []
    loss = task.loss.forward

    def record(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        assert logits.shape == targets.shape
        asked.append(logits.shape[1])
        return loss(logits, targets)

    monkeypatch.setattr(task.loss, "forward", record)
    # 24 images in 4 steps an epoch; the schedule has at least ten steps.
    make_trainer(tmp_path, max_epochs=3, limit_val_batches=0, **NO_CHECKPOINTS).fit(
        task, make_data()
    )
    assert asked[0] == 84
    assert asked == sorted(asked, reverse=True)
    assert asked[-1] == 42 + 10 + 6 + 4


def test_it_learns(tmp_path: Path) -> None:
    """Seen labels are fitted far beyond chance in seconds: the parts work together."""
    data = make_data(num_train=48, num_val=12, batch_size=16, horizontal_flip=False)
    task = make_task(data, learning_rate=3e-3, embed_dim=64, feedforward_dim=64, dropout=0.0)
    trainer = make_trainer(tmp_path, max_epochs=25, limit_val_batches=0, **NO_CHECKPOINTS)
    trainer.fit(task, data)
    data.val_dataset = data.train_dataset
    data.val_dataset.transform = data.evaluation_transform
    (metrics,) = make_trainer(tmp_path, **NO_CHECKPOINTS).validate(
        task, data.val_dataloader(), verbose=False
    )
    # Chance is .03; labels that no image has count as 0.
    assert metrics["val/seen/mAP"] > 0.15


@pytest.mark.parametrize("steps", [1, 2, 5, 10])
def test_the_schedule_fits_runs_of_any_length(tmp_path: Path, steps: int) -> None:
    data = make_data(num_train=6)
    trainer = make_trainer(tmp_path, max_epochs=steps, limit_val_batches=0, **NO_CHECKPOINTS)
    trainer.fit(make_task(data), data)
    assert trainer.global_step == steps


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_heads": 0}, "model.num_heads is 0"),
        ({"dropout": 2.0}, "model.dropout is 2.0; expected 0 to below 1"),
        ({"query_noise": -1.0}, "model.query_noise is -1.0"),
        ({"query_rotation": -1.0}, "model.query_rotation is -1.0"),
        ({"query_dropout": 1.0}, "model.query_dropout is 1.0; expected 0 to below 1"),
        ({"random_queries": -1}, "model.random_queries is -1; expected 0 or more"),
        ({"query_ramp": 2.0}, "model.query_ramp is 2.0; expected 0 to 1"),
        ({"labels_per_mixture": 1}, "model.labels_per_mixture is 1; expected 2 or more"),
        (
            {"labels_per_mixture": 85, "mixed_queries": 9},
            "model.mixed_queries is 9; it needs 85 seen labels or more, and 84 are trained",
        ),
        ({"learning_rate": 0.0}, "model.learning_rate is 0.0; expected above 0"),
        ({"weight_decay": -1.0}, "model.weight_decay is -1.0"),
        ({"warmup": 1.0}, "model.warmup is 1.0"),
        ({"ema_decay": 1.0}, "model.ema_decay is 1.0"),
        ({"head": "fast0tag", "feedforward_dim": 0}, "model.feedforward_dim is 0; expected 1 or"),
        ({"head": "conse", "num_combined": 0}, "num_combined is 0; expected 1 or more"),
        (
            {"head": "conse", "neighbour_queries": 9},
            "model.neighbour_queries is 9, but model.head conse trains a classifier",
        ),
        ({"head": "clip", "stride": None}, "model.freeze_backbone is false, but model.head clip"),
        (
            {"head": "clip", "stride": None, "freeze_backbone": True},
            "'test_resnet' embeds images in 1000 numbers, model.encoder labels in 384",
        ),
    ],
)
def test_arguments_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        make_task(make_data(), **changes)


def test_the_moving_average_starts_short_and_keeps_the_vectors_exact(tmp_path: Path) -> None:
    data = make_data(num_train=6)
    task = make_task(data, ema_decay=0.9)
    weights: list[torch.Tensor] = []

    class Record(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
            weights.append(task.get_parameter("tagger.decoder.readout.weight").detach().clone())

    options: dict[str, Any] = {"callbacks": [Record()], "enable_checkpointing": False}
    make_trainer(tmp_path, max_epochs=4, limit_val_batches=0, **options).fit(task, data)
    expected = weights[0]
    for count, weight in enumerate(weights[1:], start=1):
        decay = min(0.9, (1 + count) / (10 + count))
        expected = decay * expected + (1 - decay) * weight
    torch.testing.assert_close(
        task.get_parameter("tagger.decoder.readout.weight").detach(), expected
    )
    assert torch.equal(task.queries(Role.SEEN), make_task(data).queries(Role.SEEN))
