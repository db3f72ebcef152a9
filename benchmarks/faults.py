"""Kills, terminations and full disks at random moments, and what they leave.

python benchmarks/faults.py --trials 5

Each trial breaks a command in its middle and looks at what is there: no file may be half written,
and the command, run again, must give what it gives unbroken. Full disks are tmpfs mounts of random
size where those may be made (as root), else limits on the size of a file. Prints a table:

tried     trials in which the command was still running when it was broken, or the disk got full
survived  what was left is whole, and running it again gave the unbroken result
lost      a file was cut off, a process or a traceback stayed, or the second run differed
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from tqdm import tqdm

from zsl.files.checkpoints import read_checkpoint

SHAPES = ["--config=shapes.yaml", "--data.num_train=64", "--data.num_val=16", "--data.num_test=16"]
SHAPES += ["--data.images.size=32", "--data.batch_size=8", "--model.backbone.name=test_resnet"]
SHAPES += ["--model.head.embed_dim=16", "--model.head.feedforward_dim=16"]
SHAPES += ["--trainer.accelerator=cpu", "--trainer.max_epochs=6"]
SWEEP = {
    "name": "faults",
    "program": "zsl.fit",
    "method": "grid",
    "metric": {"name": "val/zsl/mAP", "goal": "maximize"},
    "command": [
        "${env}",
        "${interpreter}",
        "-m",
        "${program}",
        "--config",
        "shapes.yaml",
        "${args}",
    ],
    "parameters": {"seed_everything": {"values": [0, 1]}},
}
FAULTS = ("kill -9", "SIGTERM", "full disk")
PATIENCE = 20.0
"""Seconds in which all processes of a terminated command must be gone."""


@dataclass
class Case:
    """A command, what it takes again after a fault, and what it makes."""

    name: str
    arguments: list[str]
    again: list[str]
    result: Callable[[Path], Any]


def metrics(folder: Path) -> Any:
    """The figures of the newest run."""
    runs = sorted(folder.glob("runs/shapes/*/results.json"), key=lambda path: path.stat().st_mtime)
    return json.loads(runs[-1].read_text())["metrics"]


def trials(folder: Path) -> Any:
    """The figures of a sweep's trials, each once."""
    lines = (folder / "runs/sweeps/faults/trials.csv").read_text().splitlines()
    header = lines[0].split(",")
    rows = [dict(zip(header, line.split(","), strict=False)) for line in lines[1:]]
    done = [row for row in rows if row["state"] == "complete"]
    return sorted((row["seed"], row["test/zsl/mAP"]) for row in done)


def digests(name: str) -> Callable[[Path], Any]:
    """Digests of the files of a folder, those of an archive by its content."""

    def result(folder: Path) -> Any:
        paths = sorted(path for path in (folder / name).rglob("*") if path.is_file())
        assert paths, f"{name} is empty"
        texts = (path for path in paths if path.suffix != ".pt2")
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in texts}

    return result


def cases(shared: Path) -> list[Case]:
    """The commands; `shared` holds weights, a checkpoint, photographs and a sweep file."""
    shapes = [*SHAPES, f"--model.backbone.weights={shared}/backbone.pth"]
    checkpoint = f"--checkpoint={shared}/best.ckpt"
    fit = ["zsl.fit", *shapes, "--last_checkpoint.minutes=0.001"]
    store = ["zsl.prepare", "features", *shapes, "--config=data/features.yaml"]
    store += ["--data.features=store"]
    sweep = ["zsl.sweep", f"{shared}/faults.yaml", *shapes, "--trainer.max_epochs=1"]
    predict = ["zsl.predict", checkpoint, "--heatmaps=maps", "--output=maps/tags.csv"]
    predict += ["--format=csv", f"{shared}/photos"]
    export = ["zsl.export", checkpoint, "--format=torch_export", "--output=exported"]
    return [
        Case("fit", fit, [*fit, "--ckpt_path=last"], metrics),
        Case("prepare features", store, store, digests("store")),
        Case("sweep", sweep, sweep, trials),
        Case("predict", predict, predict, digests("maps")),
        Case("export", export, export, digests("exported")),
    ]


def prepare(shared: Path) -> None:
    """Makes what the commands read."""
    shared.mkdir()
    torch.manual_seed(0)
    torch.save(timm.create_model("test_resnet").state_dict(), shared / "backbone.pth")
    (shared / "faults.yaml").write_text(yaml.safe_dump(SWEEP, sort_keys=False))
    (shared / "photos").mkdir()
    for number in range(40):
        pixels = np.random.default_rng(number).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(shared / "photos" / f"{number}.png")


class Command:
    """A running command, in a process group of its own."""

    def __init__(self, arguments: list[str], folder: Path, limit: int | None = None) -> None:
        def limit_files() -> None:
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        # Elsewhere than the results, as on most clusters: what is moved from there is copied.
        environment = os.environ | {"TMPDIR": "/dev/shm"} if Path("/dev/shm").is_dir() else None
        self.process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=folder,
            env=environment,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
            preexec_fn=limit_files,
        )

    def wait(self, seconds: float | None = None) -> int | None:
        """Returns the exit code, or None while it runs."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def send(self, number: int) -> None:
        """Signals the main process alone for SIGTERM, else the whole group."""
        if number == signal.SIGTERM:
            self.process.send_signal(number)
        else:
            os.killpg(self.process.pid, number)

    def has_ended(self) -> bool:
        """Whether no process of the group stays."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            self.process.poll()
            try:
                os.killpg(self.process.pid, 0)
            except ProcessLookupError:
                return True
            time.sleep(0.1)
        os.killpg(self.process.pid, signal.SIGKILL)
        return False

    def text(self) -> str:
        """What it has printed."""
        self.log.seek(0)
        return self.log.read()


def problem_of_files(folder: Path) -> str | None:
    """Names a file that is not whole; temporary ones are meant to be cut off."""
    for path in folder.rglob("*"):
        if not path.is_file() or any(part.startswith(".partial-") for part in path.parts):
            continue
        try:
            match path.suffix:
                case ".ckpt":
                    read_checkpoint(path)
                case ".json":
                    json.loads(path.read_text())
                case ".npy":
                    np.load(path, mmap_mode="r")
                case ".safetensors":
                    load_file(path)
                case ".pt2":
                    torch.export.load(path)
                case ".png" | ".jpg":
                    with Image.open(path) as image:
                        image.load()
        except Exception as error:
            return f"{path.relative_to(folder)} is not whole: {error}"
    return None


def break_it(case: Case, fault: str, folder: Path, seconds: float, size: int) -> str | None:
    """Runs a command into a fault; returns what went wrong, or "" where it ended before."""
    if fault == "full disk":
        limit = None if os.path.ismount(folder) else random.randint(1000, size)
        command = Command(case.arguments, folder, limit)
        code = command.wait()
        if code == 0:
            return ""
        if code != 2 or "Traceback" in command.text() or "error: " not in command.text():
            return f"exit code {code}: {command.text()[-600:]}"
    else:
        command = Command(case.arguments, folder)
        if command.wait(random.uniform(0.3 * seconds, seconds)) is not None:
            return ""
        command.send(signal.SIGKILL if fault == "kill -9" else signal.SIGTERM)
        if not command.has_ended():
            return f"processes were there {PATIENCE:.0f} s later"
        if fault == "SIGTERM" and "Traceback" in command.text():
            return f"a traceback: {command.text()[-600:]}"
    return problem_of_files(folder)


def run_again(case: Case, folder: Path, expected: Any) -> str | None:
    """Runs a broken command again; returns what went wrong."""
    resumable = any(folder.glob("runs/*/*/checkpoints/last.ckpt"))
    command = Command(case.again if resumable else case.arguments, folder)
    code = command.wait()
    if code != 0:
        return f"again: exit code {code}: {command.text()[-600:]}"
    if case.result(folder) != expected:
        return "again: another result"
    leftovers = [path.name for path in folder.rglob(".partial-*")]
    return f"again: {leftovers} are left" if leftovers and case.name != "sweep" else None


def mounted(folder: Path, size: int) -> bool:
    """Mounts a small disk, where that may be done."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    return not subprocess.run(command, capture_output=True, check=False).returncode


def main() -> None:
    """Runs the trials and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=5, help="Of each command and fault.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=FAULTS)
    parser.add_argument("--commands", nargs="+", help="fit, sweep and so on; all by default.")
    options = parser.parse_args()
    random.seed(options.seed)
    counts: Counter[tuple[str, str, str]] = Counter()
    problems = []
    with tempfile.TemporaryDirectory(dir=".") as name:
        root = Path(name).resolve()
        prepare(root / "shared")
        every = cases(root / "shared")
        chosen = [
            case for case in every if case.name in (options.commands or [c.name for c in every])
        ]
        total = options.trials * len(options.faults) * len(chosen)
        bar = tqdm(total=total, unit="trial")
        for case in [every[0], *[case for case in chosen if case is not every[0]]]:
            whole = root / "whole"
            whole.mkdir()
            start = time.perf_counter()
            command = Command(case.arguments, whole)
            assert command.wait() == 0, command.text()
            seconds = time.perf_counter() - start
            expected = case.result(whole)
            size = sum(path.stat().st_size for path in whole.rglob("*") if path.is_file())
            if case is every[0]:
                best = next(whole.rglob("best.ckpt"))
                shutil.copy(best, root / "shared" / "best.ckpt")
            shutil.rmtree(whole)
            for fault in options.faults if case in chosen else ():
                for _ in range(options.trials):
                    folder = root / "trial"
                    folder.mkdir()
                    on_disk = fault == "full disk" and mounted(folder, random.randint(4096, size))
                    problem = break_it(case, fault, folder, seconds, size)
                    if on_disk:
                        subprocess.run(["mount", "-o", "remount,size=1g", str(folder)], check=True)
                    if problem is None:
                        problem = run_again(case, folder, expected)
                    if on_disk:
                        subprocess.run(["umount", str(folder)], check=True)
                    shutil.rmtree(folder)
                    bar.update()
                    if problem == "":
                        continue
                    counts[case.name, fault, "survived" if problem is None else "lost"] += 1
                    if problem:
                        problems.append(f"{case.name}, {fault}: {problem}")
        bar.close()
    print(f"{'command':18}{'fault':12}{'tried':>7}{'survived':>10}{'lost':>6}")
    for case in chosen:
        for fault in options.faults:
            survived, lost = (counts[case.name, fault, end] for end in ("survived", "lost"))
            print(f"{case.name:18}{fault:12}{survived + lost:7}{survived:10}{lost:6}")
    for problem in problems:
        print(f"lost: {problem}")


if __name__ == "__main__":
    main()
