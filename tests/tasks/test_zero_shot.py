import pickle
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from tests.fakes.checkpoints import save_checkpoint
from tests.fakes.parts import OwnHeadConfig, RecordingLoss, randomise, tiny_backbone, tiny_head
from zsl.data import ImageConfig, ShapesDataModule, TableDataModule
from zsl.errors import InputError
from zsl.files.checkpoints import read_checkpoint
from zsl.labels import QueryAugmentationConfig, Role, SentenceEncoder, Vocabulary
from zsl.losses import RankingLoss
from zsl.models import (
    BilinearConfig,
    CLIPConfig,
    ConSEConfig,
    Fast0TagConfig,
    HeadConfig,
    group_labels,
)
from zsl.tasks import OptimizationConfig, Task, ZeroShotTask
from zsl.tasks.zero_shot import _groups, logged_names

NO_CHECKPOINTS: dict[str, Any] = {"callbacks": [], "enable_checkpointing": False}
ALL = Role.SEEN, Role.UNSEEN


def make_data(flip: bool = True, **changes: Any) -> ShapesDataModule:
    arguments = {"num_train": 24, "num_val": 12, "num_test": 12, "batch_size": 6, "num_workers": 0}
    images = ImageConfig(size=32, horizontal_flip=flip)
    return ShapesDataModule(images=images, **{**arguments, **changes})


def make_task(data: ShapesDataModule | TableDataModule, **parts: Any) -> ZeroShotTask:
    pl.seed_everything(0)
    defaults = {
        "backbone": tiny_backbone(),
        "head": tiny_head(),
        "optimization": OptimizationConfig(learning_rate=1e-2),
    }
    return ZeroShotTask(
        data.vocabulary, data.images.size, SentenceEncoder(), **{**defaults, **parts}
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


def test_vectors_of_all_labels_are_one_buffer_in_the_order_of_the_vocabulary() -> None:
    data = make_data()
    task = make_task(data)
    expected = SentenceEncoder().encode(data.vocabulary.names)
    assert torch.equal(task.network.get_buffer("label_vectors"), expected)
    assert [len(task.queries(role)) for role in Role] == [84, 12, 24]
    names = data.vocabulary.select(Role.UNSEEN)
    assert torch.equal(task.queries(Role.UNSEEN), SentenceEncoder().encode(names))
    assert task.groups(Role.HELD_OUT) == {
        "zsl": list(range(84, 96)),
        "gzsl": list(range(96)),
        "seen": list(range(84)),
    }


def test_training_never_queries_held_out_or_unseen_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    data, loss = make_data(), RecordingLoss()
    task = make_task(data, loss=loss)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    monkeypatch.setattr(task, "log", lambda *args, **kwargs: None)
    first = task.training_step(batch)
    assert loss.shapes == [(6, 84)]
    batch["target"][:, 84:] = 1
    torch.manual_seed(0)
    second = task.eval().training_step(batch)
    batch["target"][:, 84:] = 0
    torch.testing.assert_close(task.eval().training_step(batch), second)
    assert first.requires_grad


def test_the_loss_of_bf16_is_a_float32_near_that_of_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = make_data()
    task = make_task(data, head=tiny_head(dropout=0.0))
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    monkeypatch.setattr(task, "log", lambda *args, **kwargs: None)
    expected = task.training_step(batch)
    with torch.autocast("cpu", torch.bfloat16):
        loss = task.training_step(batch)
    assert loss.dtype == torch.float32
    assert loss.item() != expected.item()
    torch.testing.assert_close(loss, expected, rtol=2e-2, atol=0)


def test_groups_are_made_of_the_seen_labels_alone() -> None:
    data = make_data()
    task = make_task(data, head=tiny_head(num_groups=7))
    expected = group_labels(task.queries(Role.SEEN), 7)
    assert torch.equal(task.get_buffer("network.head.group_queries"), expected)
    many = make_task(data, head=tiny_head(num_groups=200))
    assert len(many.get_buffer("network.head.group_queries")) == 84


def test_the_span_is_that_of_the_seen_labels_alone() -> None:
    task = make_task(make_data(), head=tiny_head(seen_span=True))
    span, seen = task.get_buffer("network.head.span"), task.queries(Role.SEEN)
    assert span.shape[1] == torch.linalg.matrix_rank(seen)
    torch.testing.assert_close(seen @ span @ span.T, seen, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"head": tiny_head(num_groups=7, seen_span=True)},
        {"head": tiny_head(seen_span=True, query_relu=False, grad_checkpointing=True)},
        {"head": tiny_head(pool_tokens=True, num_groups=7)},
        {"head": BilinearConfig()},
        {"head": Fast0TagConfig(16), "loss": RankingLoss()},
        {"head": ConSEConfig()},
    ],
)
def test_a_checkpoint_is_self_contained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: dict[str, Any]
) -> None:
    data = make_data()
    task = make_task(data, **parts)
    randomise(task)
    path = save_checkpoint(task, data, tmp_path / "best.ckpt")

    def refuse(*args: Any) -> None:
        raise AssertionError("an encoder or pretrained weights were read")

    monkeypatch.setattr(SentenceEncoder, "embed", refuse)
    monkeypatch.setenv("ZSL_CACHE", str(tmp_path / "no_cache"))
    restored = ZeroShotTask.restore(read_checkpoint(path)).eval()
    assert restored.vocabulary == data.vocabulary
    assert restored.encoder.recipe == task.encoder.recipe
    assert dict(restored.hparams) == dict(task.hparams)
    assert restored.scores_are_log_odds == task.scores_are_log_odds
    images, queries = torch.rand(4, 3, 32, 32), task.queries(*ALL)
    assert torch.equal(restored(images, queries), task.eval()(images, queries))


def test_classes_of_strangers_are_imported_only_where_they_are_trusted(tmp_path: Path) -> None:
    data = make_data()
    task = make_task(data, head=OwnHeadConfig(rank=3), loss=RecordingLoss(scale=2.0))
    path = save_checkpoint(task, data, tmp_path / "best.ckpt")
    with pytest.raises(
        InputError, match=r"names the class 'tests.fakes.parts.OwnHeadConfig'.*trust"
    ):
        ZeroShotTask.restore(read_checkpoint(path))
    restored = ZeroShotTask.restore(read_checkpoint(path), trust_code=True)
    assert isinstance(restored.loss, RecordingLoss)
    assert restored.loss.scale == 2.0


def test_the_averaged_weights_are_those_that_were_selected(tmp_path: Path) -> None:
    data = make_data()
    task = make_task(
        data,
        augmentation=QueryAugmentationConfig(noise=0.1),
        optimization=OptimizationConfig(learning_rate=1e-2, ema_decay=0.5),
    )
    trainer = make_trainer(tmp_path)
    trainer.fit(task, data)
    logged = trainer.logged_metrics
    assert {"val/zsl/mAP", "val/seen/mAP", "val/gzsl/F1@3", "val/harmonic_mAP"} <= set(logged)
    restored = ZeroShotTask.restore(read_checkpoint(tmp_path / "best.ckpt"))
    # The validation of the restored weights gives the number by which they were chosen.
    (metrics,) = make_trainer(tmp_path).validate(restored, data, verbose=False)
    best = trainer.checkpoint_callback
    assert isinstance(best, ModelCheckpoint)
    assert best.best_model_score is not None
    assert metrics["val/zsl/mAP"] == pytest.approx(best.best_model_score.item(), abs=1e-6)


def test_resuming_gives_the_uninterrupted_run(tmp_path: Path) -> None:
    class Stop(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            trainer.should_stop = trainer.current_epoch == 0

    data = make_data(flip=False, num_train=6)

    def fit(folder: Path, stop: bool) -> ZeroShotTask:
        # One batch per epoch: the order of images can't differ.
        optimization = OptimizationConfig(learning_rate=1e-2, ema_decay=0.5)
        task = make_task(data, head=tiny_head(dropout=0.0), optimization=optimization)
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
        task.eval()(images, task.queries(*ALL)).detach() for task in (whole, resumed)
    )
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert whole.trainer.global_step == resumed.trainer.global_step == 3


def test_resuming_with_other_labels_is_refused(table_root: Path) -> None:
    data = make_data()
    other = TableDataModule(str(table_root), images=ImageConfig(32), num_workers=0)
    contents = {"names": data.vocabulary.names, "roles": data.vocabulary.roles}
    with pytest.raises(InputError, match="was trained with Vocabulary"):
        make_task(other).on_load_checkpoint({"zsl": contents})


def test_unreadable_checkpoints_are_refused(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_checkpoint(tmp_path / "none.ckpt")
    for content in (b"", b"text", b"PK\x03\x04 half of a zip file"):
        (tmp_path / "bad.ckpt").write_bytes(content)
        with pytest.raises(InputError, match="damaged, incomplete, or not a checkpoint"):
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
    # As version 0.1 wrote them.
    contents = {"version": "0.1.0", "names": ["dog"], "roles": ["seen"], "image_size": 32}
    torch.save({"zsl": contents, "state_dict": {}, "hyper_parameters": {}}, tmp_path / "old.ckpt")
    with pytest.raises(InputError, match=r"old.ckpt was saved by zsl 0.1.0 and does not fit zsl"):
        read_checkpoint(tmp_path / "old.ckpt")


@pytest.mark.parametrize("num_groups", [None, 5])
def test_augmented_queries_are_trained_along_their_ramp(
    tmp_path: Path, num_groups: int | None
) -> None:
    loss = RecordingLoss()
    augmentation = QueryAugmentationConfig(
        noise=0.3,
        rotation=0.3,
        dropout=0.5,
        random=10,
        random_target="uncertain",
        mixed=6,
        neighbours=4,
        ramp=0.5,
    )
    head = tiny_head(num_groups=num_groups)
    task = make_task(make_data(), head=head, augmentation=augmentation, loss=loss)
    # 24 images in 4 steps an epoch; the schedule has at least ten steps.
    make_trainer(tmp_path, max_epochs=3, limit_val_batches=0, **NO_CHECKPOINTS).fit(
        task, make_data()
    )
    queried = [num_queries for _, num_queries in loss.shapes]
    assert queried[0] == 84
    assert queried == sorted(queried, reverse=True)
    assert queried[-1] == 42 + 10 + 6 + 4


def test_it_learns(tmp_path: Path) -> None:
    """Seen labels are fitted far beyond chance in seconds: the parts work together."""
    data = make_data(flip=False, num_train=48, num_val=12, batch_size=16)
    head = tiny_head(embed_dim=64, feedforward_dim=64, dropout=0.0)
    task = make_task(data, head=head, optimization=OptimizationConfig(learning_rate=3e-3))
    trainer = make_trainer(tmp_path, max_epochs=25, limit_val_batches=0, **NO_CHECKPOINTS)
    trainer.fit(task, data)
    data.val_dataset = data.train_dataset
    data.val_dataset.transform = data.evaluation_transform
    (metrics,) = make_trainer(tmp_path, **NO_CHECKPOINTS).validate(
        task, data.val_dataloader(), verbose=False
    )
    # Chance is .03; labels that no image has count as 0.
    assert metrics["val/seen/mAP"] > 0.15


def make_parts(head: HeadConfig, **parts: Any) -> ZeroShotTask:
    return make_task(make_data(), head=head, **parts)


def test_parts_that_do_not_go_together_are_refused() -> None:
    def augmented(**changes: Any) -> QueryAugmentationConfig:
        return QueryAugmentationConfig(**changes)

    def refused(message: str, head: HeadConfig, **parts: Any) -> None:
        with pytest.raises(InputError, match=re.escape(message)):
            make_parts(head, **parts)

    many = augmented(labels_per_mixture=85, mixed=9)
    refused("augmentation.mixed is 9; it needs 85 seen labels or", tiny_head(), augmentation=many)
    near = augmented(neighbours=9)
    message = "augmentation.neighbours is 9, but the head ConSEConfig trains a classifier"
    refused(message, ConSEConfig(), augmentation=near)
    pooled = tiny_backbone(stride=None, pooled=True)
    message = "The backbone embeds images in 1000 numbers, the encoder labels in 384"
    refused(message, CLIPConfig(), backbone=pooled)


def test_logits_of_another_shape_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_data()
    task = make_task(data)
    monkeypatch.setattr(task.network.head, "forward", lambda tokens, queries: tokens @ queries.T)
    batch: Any = {"image": torch.zeros(2, 3, 32, 32), "target": torch.zeros(2, 120)}
    task.network.backbone = torch.nn.Sequential(torch.nn.Flatten(2), torch.nn.Linear(1024, 384))
    with pytest.raises(InputError, match=r"shape \(2, 3, 120\); expected \(2, 120\)"):
        task.score(batch, task.queries(*ALL), 120)


@pytest.mark.parametrize(("limit", "expected"), [(8, 15), (3, 6)])
def test_batches_of_a_validation_are_counted_over_all_processes(limit: int, expected: int) -> None:
    """Of 15 batches two processes have eight each, so that one comes twice."""
    data = ShapesDataModule(num_val=57, batch_size=4, num_workers=0)
    data.setup("validate")
    trainer = SimpleNamespace(
        world_size=2,
        num_val_batches=[limit],
        val_dataloaders=data.ordered_loader(data.val_dataset, 2, equal=True),
    )
    counted: Any = Task._num_val_batches
    assert counted.fget(SimpleNamespace(trainer=trainer)) == expected


def test_without_seen_labels_there_is_nothing_to_train() -> None:
    with pytest.raises(InputError, match="None of the 2 labels of the data has the role seen"):
        ZeroShotTask(Vocabulary(["dog", "cat"], [Role.UNSEEN] * 2), 32, SentenceEncoder())


def test_without_unseen_labels_the_test_is_about_held_out_ones() -> None:
    names = ["a", "b", "c"]

    def groups(*roles: str) -> list[dict[str, list[int]]]:
        vocabulary = Vocabulary(names, roles)
        return [_groups(vocabulary, last) for last in (Role.HELD_OUT, Role.UNSEEN)]

    seen = {"seen": [0], "gzsl": [0, 1]}
    assert groups("seen", "held_out", "unseen") == [
        {"zsl": [1], **seen},
        {"zsl": [2], "seen": [0], "gzsl": [0, 1, 2]},
    ]
    seen = {"seen": [0, 1], "gzsl": [0, 1, 2]}
    assert groups("seen", "seen", "held_out") == [{"zsl": [2], **seen}, {"held_out": [2], **seen}]
    assert groups("seen", "seen", "seen") == [{"seen": [0, 1, 2]}] * 2
    logged = logged_names(Vocabulary(names, ["seen"] * 3))
    assert "val/seen/mAP" in logged
    assert not any("zsl" in name or "harmonic" in name for name in logged)


def test_the_progress_bar_shows_what_selects_the_checkpoint(tmp_path: Path) -> None:
    data = make_data()
    watched = ModelCheckpoint(tmp_path, monitor="val/harmonic_mAP", mode="max")
    trainer = make_trainer(tmp_path, max_epochs=1, callbacks=[watched])
    trainer.fit(make_task(data), data)
    shown = trainer.progress_bar_metrics
    assert {name for name in shown if name.startswith("val/")} == {"val/harmonic_mAP"}
    assert shown["val/harmonic_mAP"] == pytest.approx(
        float(watched.best_model_score or 0), abs=1e-3
    )
