"""What a stopped run leaves, and how it goes on."""

import errno
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch

from tests.fakes.runs import fit_shapes
from zsl.data import ShapesDataModule
from zsl.data.resumable_sampler import ResumableSampler

LAST = "runs/shapes/latest/checkpoints/last.ckpt"
THREE_EPOCHS = ["--data.num_train=40", "--trainer.max_epochs=3"]  # Of five batches each.


class Interrupt(pl.Callback):
    """Notes which images are trained; presses Ctrl-C before or after a step."""

    trained: ClassVar[list[tuple[int, int]]] = []

    def __init__(self, step: int, when: str) -> None:
        self.step, self.when = step, when

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        if self.when == "before" and trainer.global_step == self.step:
            raise KeyboardInterrupt

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: object, batch: dict, *_: int
    ) -> None:
        self.trained.extend((trainer.current_epoch, i) for i in batch["index"].tolist())
        if self.when == "after" and trainer.global_step == self.step:
            raise KeyboardInterrupt


def interrupt(step: int, when: str) -> list[str]:
    name = f"{__name__}.Interrupt"
    values = f"{{class_path: {name}, init_args: {{step: {step}, when: {when}}}}}"
    return [f"--trainer.callbacks+={values}"]


@pytest.mark.usefixtures("in_tmp_path")
@pytest.mark.parametrize(
    ("step", "when", "num_workers"),
    [(7, "after", 0), (8, "before", 1), (5, "before", 0)],
)
def test_a_resumed_epoch_trains_every_image_once(
    step: int, when: str, num_workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    Interrupt.trained = []
    arguments = [
        *THREE_EPOCHS,
        f"--data.num_workers={num_workers}",
        "--model.optimization.ema_decay=0.9",
    ]
    with caplog.at_level("INFO", "zsl"), pytest.raises(SystemExit):
        fit_shapes(*arguments, *interrupt(step, when))
    assert f"Stopped at step {step}. Resume from step {step} with" in caplog.text
    assert torch.load(LAST, weights_only=True)["global_step"] == step
    assert len(Interrupt.trained) == 8 * step
    assert fit_shapes(*arguments, *interrupt(-1, "never"), f"--ckpt_path={LAST}") == 0
    assert sorted(Interrupt.trained) == [(epoch, i) for epoch in range(3) for i in range(40)]
    assert torch.load(LAST, weights_only=True)["global_step"] == 15


def trained(folder: str) -> tuple[list[float], dict[str, torch.Tensor]]:
    """The losses of a run's steps, and the tensors of its last checkpoint."""
    table = pd.read_csv(f"runs/shapes/{folder}/metrics.csv")
    last = torch.load(f"runs/shapes/{folder}/checkpoints/last.ckpt", weights_only=True)
    # With a moving average, these are the averaged weights.
    current = last.get("current_model_state", {})
    tensors = last["state_dict"] | {f"current.{name}": value for name, value in current.items()}
    return table["train/loss"].dropna().tolist(), tensors


@pytest.mark.usefixtures("in_tmp_path")
@pytest.mark.parametrize(
    ("parts", "num_workers"),
    [
        (
            [
                "--model.optimization.ema_decay=0.9",
                "--model.head.dropout=0.2",
                "--model.augmentation={noise: 0.3, dropout: 0.2, random: 3, mixed: 3}",
            ],
            2,
        ),
        (["--model.head=zsl.models.Fast0TagConfig"], 1),
    ],
)
def test_a_stop_and_other_processes_change_no_digit(
    parts: list[str], num_workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all that is drawn in a training: images, queries and dropout."""
    images = {"size": 32, "min_crop": 0.3, "horizontal_flip": True, "cutout": 0.3}
    arguments = [
        *THREE_EPOCHS,
        *parts,
        "--trainer.log_every_n_steps=1",
        f"--data.images={images | {'rand_augment': True}}",
    ]
    assert fit_shapes(*arguments) == 0
    monkeypatch.setattr("zsl.tasks.callbacks.LastCheckpoint.on_exception", lambda *_: None)
    arguments += [f"--data.num_workers={num_workers}", "--last_checkpoint.minutes=1e-9"]
    Interrupt.trained = []
    with pytest.raises(SystemExit):
        fit_shapes(*arguments, *interrupt(8, "before"))
    assert fit_shapes(*arguments, f"--ckpt_path={LAST}", "--seed_everything=3") == 0
    (losses, whole), (first, _), (rest, resumed) = map(
        trained, ("version_0", "version_1", "latest")
    )
    assert len(set(losses)) == 15
    assert losses == first + rest
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


@pytest.mark.usefixtures("in_tmp_path")
def test_the_state_is_saved_in_mid_epoch_every_so_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a power cut, nothing but the saves of the clock is left."""
    monkeypatch.setattr("zsl.tasks.callbacks.LastCheckpoint.on_exception", lambda *_: None)
    Interrupt.trained = []
    with pytest.raises(SystemExit):
        fit_shapes(*THREE_EPOCHS, *interrupt(8, "before"), "--last_checkpoint.minutes=1e-9")
    assert torch.load(LAST, weights_only=True)["global_step"] == 8
    assert fit_shapes(*THREE_EPOCHS, *interrupt(-1, "never"), f"--ckpt_path={LAST}") == 0
    assert sorted(Interrupt.trained) == [(epoch, i) for epoch in range(3) for i in range(40)]


@pytest.mark.usefixtures("in_tmp_path")
@pytest.mark.parametrize("fault", ["full disk", "kill"])
def test_a_save_that_fails_leaves_the_earlier_checkpoints(
    fault: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The disk is full, or the process is gone, when the second epoch's best is half written."""
    sync = os.fsync
    num_synced = 0

    def fail(descriptor: int) -> None:
        nonlocal num_synced
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        num_synced += name.endswith(".ckpt")
        if num_synced > 2:
            # Nothing after it is executed, as after a kill, or all that handles errors.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) if fault == "full disk" else Kill
        sync(descriptor)

    class Kill(BaseException):
        pass

    monkeypatch.setattr(os, "fsync", fail)
    if fault == "kill":
        with pytest.raises(Kill):
            fit_shapes(*THREE_EPOCHS)
    else:
        assert fit_shapes(*THREE_EPOCHS) == 2
        message = capsys.readouterr().err.splitlines()[-1]
        assert message.startswith("error: ")
        assert "No space left on device; make room" in message
    monkeypatch.setattr(os, "fsync", sync)
    for name in ("best", "last"):
        path = Path("runs/shapes/latest/checkpoints", f"{name}.ckpt")
        assert torch.load(path, weights_only=True)["global_step"] == 5
    assert fit_shapes(*THREE_EPOCHS, f"--ckpt_path={LAST}") == 0


@pytest.mark.usefixtures("in_tmp_path")
def test_the_last_checkpoint_is_the_last_though_it_is_not_the_best() -> None:
    assert fit_shapes(*THREE_EPOCHS, "--trainer.limit_train_batches=3") == 0
    assert torch.load(LAST, weights_only=True)["global_step"] == 9
    assert torch.load(LAST, weights_only=True)["ShapesDataModule"]["num_batches_done"] == 9


@pytest.mark.usefixtures("in_tmp_path")
def test_a_stop_after_the_last_batch_leaves_no_validation_out() -> None:
    """A resume from there would begin with the next epoch."""
    Interrupt.trained = []
    with pytest.raises(SystemExit):
        fit_shapes(*THREE_EPOCHS, *interrupt(5, "after"), "--last_checkpoint.minutes=1e-9")
    assert torch.load(LAST, weights_only=True)["global_step"] == 4
    assert fit_shapes(*THREE_EPOCHS, f"--ckpt_path={LAST}") == 0
    text = Path("runs/shapes/latest/metrics.csv").read_text()
    column = text.splitlines()[0].split(",").index("val/zsl/mAP")
    assert sum(bool(line.split(",")[column]) for line in text.splitlines()[1:]) == 3


@pytest.mark.usefixtures("in_tmp_path")
def test_a_resume_keeps_the_order_or_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Interrupt.trained = []
    with pytest.raises(SystemExit):
        fit_shapes(*THREE_EPOCHS, *interrupt(7, "after"))
    resume = [*THREE_EPOCHS, f"--ckpt_path={Path(LAST).resolve()}"]
    for change, message in (
        ("--data.seed=1", "was trained with data"),
        ("--trainer.max_epochs=4", "schedule has 15 steps"),
    ):
        assert fit_shapes(*resume, change) == 2
        assert message in capsys.readouterr().err
    # Seven batches of eight make as many steps as of nine would: the size tells.
    assert fit_shapes(*resume, "--data.num_train=44") == 2
    assert "was trained with data" in capsys.readouterr().err
    assert fit_shapes(*resume, *interrupt(-1, "never"), "--seed_everything=5") == 0
    assert sorted(Interrupt.trained) == [(epoch, i) for epoch in range(3) for i in range(40)]


def test_the_length_of_an_epoch_is_the_loaders_among_processes() -> None:
    for count in range(1, 40):
        for processes in (1, 2, 3):
            data = ShapesDataModule(num_train=count, batch_size=2, num_workers=0)
            data.trainer = SimpleNamespace(  # type: ignore[assignment]
                world_size=processes, global_rank=0, limit_train_batches=1.0
            )
            data.setup("fit")
            length = len(data.train_dataloader())
            data._num_batches_done = 3 * length
            sampler = data.train_dataloader().sampler
            assert isinstance(sampler, ResumableSampler)
            assert (sampler.epoch, sampler.start) == (3, 0)


@pytest.mark.usefixtures("in_tmp_path")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_after_a_whole_step(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def press(self: Interrupt, trainer: pl.Trainer, *_: object) -> None:
        if trainer.global_step == 6:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Interrupt, "on_train_batch_start", press)
    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    with caplog.at_level("INFO", "zsl"), pytest.raises(SystemExit) as stopped:
        fit_shapes(*THREE_EPOCHS, *interrupt(-1, "never"))
    assert stopped.value.code == 128 + number
    assert "Stopped at step 7. Resume from step 7 with --ckpt_path runs/" in caplog.text
    assert torch.load(LAST, weights_only=True)["global_step"] == 7
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers


@pytest.mark.usefixtures("in_tmp_path")
def test_a_stop_waits_for_the_step_of_accumulated_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint holds no gradients; the fifth batch of each epoch has a step of its own."""

    def press(self: Interrupt, trainer: pl.Trainer, *_: object) -> None:
        done = trainer.fit_loop.epoch_loop.batch_progress.total.state_dict()["processed"]
        if done == self.step:
            os.kill(os.getpid(), signal.SIGINT)
            if self.when == "twice":
                os.kill(os.getpid(), signal.SIGINT)

    arguments = [*THREE_EPOCHS, "--trainer.accumulate_grad_batches=2"]
    arguments += ["--model.optimization.ema_decay=0.9", "--trainer.log_every_n_steps=1"]
    assert fit_shapes(*arguments) == 0
    whole = torch.load(LAST, weights_only=True)
    assert whole["global_step"] == whole["averaging_state"]["n_averaged"] == 9
    monkeypatch.setattr(Interrupt, "on_train_batch_start", press)
    Interrupt.trained = []
    with pytest.raises(SystemExit):
        fit_shapes(*arguments, *interrupt(7, "once"))
    state = torch.load(LAST, weights_only=True)
    assert (state["global_step"], state["ShapesDataModule"]["num_batches_done"]) == (5, 9)
    # At once, with gradients of the eighth batch.
    with pytest.raises(SystemExit):
        fit_shapes(*arguments, *interrupt(8, "twice"), "--last_checkpoint.minutes=1e-9")
    state = torch.load(LAST, weights_only=True)
    assert (state["global_step"], state["ShapesDataModule"]["num_batches_done"]) == (4, 7)
    for stopped in ("version_1", "version_2"):
        last = f"runs/shapes/{stopped}/checkpoints/last.ckpt"
        assert fit_shapes(*arguments, f"--ckpt_path={last}") == 0
        resumed, expected = trained("latest")[1], trained("version_0")[1]
        assert resumed.keys() == expected.keys()
        assert all(torch.equal(value, resumed[name]) for name, value in expected.items())


@pytest.mark.usefixtures("in_tmp_path")
def test_a_signal_in_the_validation_leaves_the_last_saved_state(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def press(self: Interrupt, trainer: pl.Trainer, *_: object) -> None:
        if trainer.global_step == 10:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Interrupt, "on_validation_batch_start", press)
    with caplog.at_level("INFO", "zsl"), pytest.raises(SystemExit) as stopped:
        fit_shapes(*THREE_EPOCHS, *interrupt(-1, "never"))
    assert stopped.value.code == 143
    assert "Stopped at step 10. Resume from step 5 with --ckpt_path runs/" in caplog.text
    assert torch.load(LAST, weights_only=True)["global_step"] == 5


def test_a_trial_run_leaves_nothing(in_tmp_path: Path) -> None:
    assert fit_shapes("--trainer.fast_dev_run=true") == 0
    assert not [path for path in in_tmp_path.rglob("*") if path.is_file()]
