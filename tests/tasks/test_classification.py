"""Fixed classes: the parts that differ from the zero-shot task."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

import zsl
from tests.fakes.checkpoints import save_checkpoint
from tests.fakes.parts import RecordingLoss, randomise, tiny_backbone
from tests.fakes.table import write_table_dataset
from zsl.data import ImageConfig, TableDataModule
from zsl.data.mixing import MixingConfig
from zsl.errors import InputError
from zsl.files.checkpoints import read_checkpoint
from zsl.losses import AsymmetricLoss, BinaryCrossEntropy, CrossEntropy, Loss
from zsl.metrics import Protocol
from zsl.models import FixedMLDecoderConfig, PoolingConfig
from zsl.tasks import ClassificationTask, OptimizationConfig

TINY = FixedMLDecoderConfig(embed_dim=16, feedforward_dim=16)


def make_data(root: Path, kind: Any = "fixed", **arguments: Any) -> TableDataModule:
    write_table_dataset(root, kind=kind)
    images = ImageConfig(size=32)
    return TableDataModule(str(root), images=images, num_workers=0, **{"batch_size": 8} | arguments)


def make_task(data: TableDataModule, **parts: Any) -> ClassificationTask:
    pl.seed_everything(0)
    defaults = {"backbone": tiny_backbone(), "head": TINY}
    return ClassificationTask(data.vocabulary, data.image_size, **{**defaults, **parts})


def make_trainer(**changes: Any) -> pl.Trainer:
    quiet: dict[str, Any] = {
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "logger": False,
    }
    return pl.Trainer(accelerator="cpu", enable_checkpointing=False, **quiet, **changes)


@pytest.mark.parametrize(
    ("kind", "head", "loss", "metric", "chance"),
    [
        ("fixed", TINY, AsymmetricLoss(gamma_negative=2), "all/mAP", 0.25),
        ("fixed", PoolingConfig(), BinaryCrossEntropy(), "all/mAP", 0.25),
        ("single_label", TINY, CrossEntropy(label_smoothing=0.1), "all/Acc@1", 0.125),
    ],
)
def test_it_learns(
    tmp_path: Path, kind: str, head: Any, loss: Loss, metric: str, chance: float
) -> None:
    data = make_data(tmp_path / "photos", kind)
    task = make_task(
        data,
        single_label=kind == "single_label",
        head=head,
        loss=loss,
        optimization=OptimizationConfig(learning_rate=1e-2),
    )
    make_trainer(max_epochs=15, limit_val_batches=0).fit(task, data)
    (metrics,) = make_trainer().test(task, data, verbose=False)
    assert metrics[f"test/{metric}"] > 2 * chance
    assert {name.replace("test/", "val/") for name in metrics} <= set(task.logged_names)


def test_mixed_images_are_trained_with_mixed_targets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, loss = make_data(tmp_path / "photos"), RecordingLoss()
    task = make_task(data, loss=loss, mixing=MixingConfig(mixup=1.0))
    monkeypatch.setattr(task, "log", lambda *args, **kwargs: None)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    seen: list[torch.Tensor] = []
    task.network.backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    targets, images = batch["target"].clone(), batch["image"].clone()
    task.training_step(batch)
    task.mixing = MixingConfig()
    task.training_step({"index": batch["index"], "image": images, "target": targets})
    mixed, plain = seen
    assert mixed.dtype == torch.float32
    assert plain.dtype == torch.uint8
    assert not torch.equal(mixed, plain / 255)


def test_a_calibration_of_earlier_weights_is_not_kept(tmp_path: Path) -> None:
    data = make_data(tmp_path / "photos")
    task = make_task(data)
    targets = (torch.rand(60, len(data.vocabulary)) > 0.5).to(torch.int8)
    scores = targets + torch.randn(targets.shape)
    task.calibrate(scores, targets)
    assert task.is_calibrated
    task.calibrate(-scores, targets)
    assert not task.is_calibrated


@pytest.mark.parametrize("head", [TINY, FixedMLDecoderConfig(3, 16, 8, 16), PoolingConfig(0.1)])
def test_a_checkpoint_is_self_contained(tmp_path: Path, head: Any) -> None:
    data = make_data(tmp_path / "photos", "single_label")
    task = make_task(
        data,
        single_label=True,
        head=head,
        loss=CrossEntropy(),
        protocol=Protocol(empty="skip"),
        mixing=MixingConfig(cutmix=1.0),
    )
    randomise(task)
    path = save_checkpoint(task, data, tmp_path / "best.ckpt")
    restored = ClassificationTask.restore(read_checkpoint(path)).eval()
    images = torch.rand(3, 3, 32, 32)
    expected = task.eval()(images)
    assert torch.equal(restored(images), expected)
    assert (restored.single_label, restored.protocol) == (True, Protocol(empty="skip"))
    assert restored.mixing == MixingConfig(cutmix=1.0)
    assert dict(restored.hparams) == dict(task.hparams)

    folder = tmp_path / "shared"
    zsl.Tagger.from_pretrained(path).save_pretrained(folder)
    for source in (path, folder):
        tagger = zsl.Tagger.from_pretrained(source)
        assert torch.equal(tagger(images), expected)
        names = data.vocabulary.names[3:1:-1]
        photos = sorted((tmp_path / "photos" / "images").iterdir())[:2]
        tokens = torch.cat(list(tagger.token_batches(photos)))
        logits, scores = tagger.score(tokens, tagger.embed(names)[1])
        whole = tagger.network.head(tokens)
        torch.testing.assert_close(scores, whole.softmax(dim=1)[:, [3, 2]])
        # Which rank images too.
        torch.testing.assert_close(logits, whole.log_softmax(dim=1)[:, [3, 2]])
        (prediction, _) = tagger.predict(photos, names, top_k=1)
        assert prediction.labels[0] in names
        with pytest.raises(InputError, match=r"'rad'.*Did you mean 'red'.*classes.*are fixed"):
            tagger.predict(photos, ["rad"])
        if isinstance(head, PoolingConfig):
            with pytest.raises(InputError, match="has no attention; take a"):
                tagger.attention(photos)


def test_classes_of_a_group_share_their_map(tmp_path: Path) -> None:
    data = make_data(tmp_path / "photos")
    task = make_task(data, head=FixedMLDecoderConfig(4, 16, 8, 16))
    path = save_checkpoint(task, data, tmp_path / "best.ckpt")
    photo = tmp_path / "photos" / "images" / "1.png"
    (maps,) = zsl.Tagger.from_pretrained(path).attention(photo)
    assert maps.shape == (8, 2, 2)
    torch.testing.assert_close(maps.sum(dim=(1, 2)), torch.ones(8))
    torch.testing.assert_close(maps[::2], maps[1::2])
    assert not torch.allclose(maps[0], maps[2])


@pytest.mark.parametrize(
    ("kind", "parts", "message"),
    [
        (
            "zero_shot",
            {},
            "4 of the 8 labels of the data are not seen, the first is .*ZeroShotTask",
        ),
        ("fixed", {"single_label": True}, "single_label is true, but an image .* has 2 classes"),
        ("fixed", {"loss": CrossEntropy()}, "loss is CrossEntropy, whose softmax .* set it true"),
    ],
)
def test_data_of_another_kind_is_refused(
    tmp_path: Path, kind: str, parts: dict[str, Any], message: str
) -> None:
    data = make_data(tmp_path / "photos", kind)
    with pytest.raises(InputError, match=message):
        make_trainer(max_epochs=1, limit_val_batches=0).fit(make_task(data, **parts), data)
