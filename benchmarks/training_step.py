"""Where the time of a training step goes, and what four settings gain.

python benchmarks/training_step.py --config shapes.yaml [--device cuda] [--rounds 5] [...]

The settings are bf16, channels-last layout, fused optimizer and compiling.

All other arguments are those of `zsl.fit`, whose steps are measured as Lightning runs them, with
random weights and without validation. First a table of shares, with the data's own loader: on a
GPU each part is waited for, so that its time is its own; the images a second are of the same steps
without that. Then ratios: steps of a few batches in memory with one setting beside steps with
none of the four (float32, contiguous, plain optimizer, not compiled), in turn; medians of the
rounds, and the least and the most. Above 1 is faster. On a CPU these are of processor time, which
other work on the machine disturbs less than the clock on the wall.
"""

import argparse
import logging
import resource
import statistics
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.profilers import PassThroughProfiler, Profiler
from torch.utils.data import DataLoader

from zsl.commands.fit_cli import data_and_task
from zsl.data import MultiLabelDataModule
from zsl.tasks import Task

PARTS = {
    "train_dataloader_next": "waiting for the batch",
    "batch_to_device": "transfer to the device",
    "tokens": "backbone, forward",
    "label_loss": "head, forward",
    "loss": "loss, forward",
    "training_step": "augmentation of queries, logging",
    "backward": "backward",
    "optimizer_step": "optimizer",
    "optimizer_zero_grad": "optimizer",
    "lr_scheduler_step": "optimizer",
    "WeightAveraging.on_train_batch_end": "moving average of the weights",
}
REST = "rest: Lightning, other callbacks"
SETTINGS = ("bf16", "channels_last", "fused", "compile")


def synchronize() -> None:
    """Waits for the GPU, if there is one in use."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


class PartClock(Profiler):
    """Charges each moment to the innermost part that is being run."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.running = [REST]
        self.since = time.perf_counter()

    def charge(self) -> None:
        """Charges the time since the last charge."""
        synchronize()
        now = time.perf_counter()
        self.seconds[self.running[-1]] += now - self.since
        self.since = now

    def start(self, action_name: str) -> None:
        """Begins a part, or goes on with the present one, if this is none."""
        self.charge()
        part = next((PARTS[end] for end in PARTS if action_name.endswith(end)), self.running[-1])
        self.running.append(part)

    def stop(self, action_name: str) -> None:
        """Ends what was begun last."""
        self.charge()
        self.running.pop()

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns the function as a part."""

        def run(*arguments: Any) -> Any:
            with self.profile(name):
                return function(*arguments)

        return run


class Window(Callback):
    """Measures the steps after the first ones.

    Args:
        warmup: Number of first steps that don't count.
        steps: Number of steps that do.
        clock: Is set to zero where they begin.
    """

    def __init__(self, warmup: int, steps: int, clock: PartClock | None = None) -> None:
        self.warmup, self.steps, self.clock = warmup, steps, clock
        self.began = self.processor_began = 0.0
        self.seconds_of_warmup = self.seconds = self.processor_seconds = 0.0
        self.parts: dict[str, float] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begins the first steps."""
        self.began = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Begins after the first steps, ends after the last."""
        if trainer.global_step not in (self.warmup, self.warmup + self.steps):
            return
        synchronize()
        now = time.perf_counter()
        if trainer.global_step == self.warmup:
            self.seconds_of_warmup, self.began = now - self.began, now
            self.processor_began = time.process_time()
            if torch.cuda.is_initialized():
                torch.cuda.reset_peak_memory_stats()
            if self.clock:
                self.clock.charge()
                self.clock.seconds.clear()
            return
        self.seconds = (now - self.began) / self.steps
        self.processor_seconds = (time.process_time() - self.processor_began) / self.steps
        if self.clock:
            self.clock.charge()
            self.parts = {part: s / self.steps for part, s in self.clock.seconds.items()}


class Bench:
    """A task and its data, and how many steps of it are measured."""

    def __init__(self, data: MultiLabelDataModule, task: Task, options: Any) -> None:
        self.data, self.task, self.options = data, task, options
        # What is learnt before the first step has no part in it.
        task.on_fit_start = lambda: None  # type: ignore[method-assign]

    def train(self, precision: Any, clock: PartClock | None = None) -> Window:
        """Trains for a few steps; returns what they took."""
        warmup, steps = self.options.warmup, self.options.steps
        window = Window(warmup, steps, clock)
        trainer = pl.Trainer(
            accelerator="gpu" if self.options.device == "cuda" else "cpu",
            devices=1,
            precision=precision,
            max_steps=warmup + steps,
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[window],
            profiler=clock or PassThroughProfiler(),
        )
        trainer.fit(self.task, self.data)
        return window

    def measure_parts(self, precision: str) -> None:
        """Prints the share of each part."""
        task, clock = self.task, PartClock()
        plain = self.train(precision)
        memory = peak_gigabytes()
        replaced = {name: getattr(task, name) for name in ("tokens", "label_loss", "loss")}
        for name, function in replaced.items():
            setattr(task, name, clock.timed(name, function))
        parts = self.train(precision, clock).parts
        for name, function in replaced.items():
            setattr(task, name, function)
        total = sum(parts.values())
        batch = self.data.batch_size
        print(f"\nOne step of {batch} images, {precision}: {total * 1e3:.0f} ms")
        for part in dict.fromkeys([*PARTS.values(), REST]):
            if part in parts:
                seconds = parts[part]
                print(f"  {part:<34}{seconds * 1e3:9.1f} ms {seconds / total:6.1%}")
        print(f"  {batch / plain.seconds:.1f} images/s, peak memory {memory:.2f} GB", flush=True)

    def measure_settings(self, names: list[str]) -> None:
        """Prints how much faster each setting is than none, and all of them together."""
        self.keep_batches_in_memory()
        kinds: dict[str, set[str]] = {"plain": set()} | {name: {name} for name in names}
        if len(names) > 1:
            kinds["all of these"] = set(names)
        windows: dict[str, list[Window]] = {kind: [] for kind in kinds}
        memory = dict.fromkeys(kinds, 0.0)
        for _ in range(self.options.rounds):
            for kind, chosen in kinds.items():
                with self.chosen(chosen) as precision:
                    windows[kind].append(self.train(precision))
                memory[kind] = peak_gigabytes()
        print(f"\nSteps with one setting, against none; {self.options.rounds} rounds")
        which = "seconds" if self.options.device == "cuda" else "processor_seconds"
        for kind, found in windows.items():
            seconds = [getattr(window, which) for window in found]
            plain = [getattr(window, which) for window in windows["plain"]]
            ratios = [one / other for one, other in zip(plain, seconds, strict=True)]
            middle = statistics.median(seconds)
            line = f"  {kind:<16}{middle * 1e3:9.1f} ms {statistics.median(ratios):6.2f} x"
            line += f"  ({min(ratios):.2f} to {max(ratios):.2f})"
            if self.options.device == "cuda":
                line += f"  {memory[kind]:6.2f} GB"
            if "compile" in kinds[kind]:
                line += f"  first steps {found[0].seconds_of_warmup:.0f} s"
            print(line, flush=True)

    def keep_batches_in_memory(self) -> None:
        """Has all further steps read the same few batches."""
        self.data.setup("fit")
        loader = iter(self.data.train_dataloader())
        kept = [batch for batch, _ in zip(loader, range(3), strict=False)]
        repeated: Any = kept * (self.options.warmup + self.options.steps)
        in_memory = DataLoader(repeated, batch_size=None)
        self.data.train_dataloader = lambda: in_memory  # type: ignore[method-assign]

    @contextmanager
    def chosen(self, settings: set[str]) -> Iterator[str]:
        """Has these settings and none of the others; yields the trainer's precision."""
        task, backbone = self.task, self.task.network.backbone
        optimization, layout = task.optimization, backbone.memory_format
        contiguous, channels_last = torch.contiguous_format, torch.channels_last
        self.use_layout(channels_last if "channels_last" in settings else contiguous)
        task.optimization = replace(optimization, fused="fused" in settings)
        task.compiles = "compile" in settings
        yield "bf16-mixed" if "bf16" in settings else "32-true"
        task.optimization, task.compiles, task._compiled = optimization, False, None
        self.use_layout(layout)

    def use_layout(self, layout: Any) -> None:
        """Lays out the backbone and its images."""
        backbone: Any = self.task.network.backbone
        backbone.memory_format = layout
        backbone.to(memory_format=layout)


def peak_gigabytes() -> float:
    """Most memory of the GPU since the window began, or of the process so far."""
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    """Prints the table and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    has_gpu = torch.cuda.is_available()
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if has_gpu else "cpu")
    parser.add_argument("--steps", type=int, default=20 if has_gpu else 4)
    parser.add_argument("--warmup", type=int, default=5 if has_gpu else 2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--settings", nargs="*", choices=SETTINGS, default=list(SETTINGS))
    options, arguments = parser.parse_known_args()
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    pl.seed_everything(0, verbose=False)
    data, task, precision = data_and_task(arguments)
    on_gpu = options.device == "cuda"
    device = torch.cuda.get_device_name() if on_gpu else f"CPU, {torch.get_num_threads()} threads"
    print(f"{device}, PyTorch {torch.__version__}: {' '.join(arguments)}", flush=True)
    if on_gpu and precision == "32-true":
        precision = "bf16-mixed"  # As zsl.fit does.
    bench = Bench(data, task, options)
    bench.measure_parts(precision if on_gpu else "32-true")
    if options.settings:
        bench.measure_settings(options.settings)


if __name__ == "__main__":
    main()
