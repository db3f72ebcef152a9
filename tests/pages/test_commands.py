"""Every command line of the pages is run, on miniature data and with tiny models."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from configparser import ConfigParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.commands.test_configs import CONFIGS
from tests.fakes.threads import run_command
from tests.fakes.weights import write_weights
from tests.pages.benchmarks import BENCHMARKS
from tests.pages.find import DOCUMENTED, PAGES, ROOT
from tests.pages.meanings import MEANINGS, synopsis_taken, words_of_zsl
from tests.pages.workplace import Workplace
from zsl.commands.fit import main as fit
from zsl.commands.main import main as zsl
from zsl.inference import ready
from zsl.models import TimmBackboneConfig
from zsl.models.own_classes import OwnClasses
from zsl.sweeps import runner
from zsl.sweeps.spec import Sweep, values_of

NOT_RUN = {
    ". .venv/bin/activate": "it changes its shell; `make` needs no activated environment",
    "apt-get install postgresql": "it installs; tests/sweeps/postgresql.py starts a server",
    "sudo -u postgres createuser --pwprompt ann": "as above",
    "sudo -u postgres createdb --owner ann sweeps": "as above",
    'echo "db.lab:5432:sweeps:ann:PASSWORD" >> ~/.pgpass && chmod 600 ~/.pgpass': "as above",
    "conda env create -f environment.yml && conda activate zsl": "it downloads; nothing covers it",
    "docker build -t zsl .": "it downloads; nothing covers it",
    'docker run --rm -v "$PWD:/data" zsl fit --config shapes.yaml': "as above",
    "exiftool -tagsfromfile %d%f.%e.xmp -xmp:subject -ext jpg photos/": "it is not of zsl and need "
    "not be installed; nothing covers it",
    "export MASTER_ADDR=HOST MASTER_PORT=29500 NODE_RANK=0": "it changes its shell; "
    "tests/commands/test_launch.py sets these",
    "jupyter lab notebooks": "it serves; tests/test_notebooks.py executes the notebooks",
    "jupyter nbconvert --clear-output --inplace notebooks/*.ipynb": "it writes into the "
    "checkout; tests/test_notebooks.py finds no outputs",
    "mkdocs serve": "it serves; tests/test_docs.py builds the site",
    "pip install zsl": "pages say not to",
    "pip install pre-commit && pre-commit install": "it writes into .git; the hooks are those of "
    "`make test`",
    "pytest tests/metrics": "these are tests",
    "python -m zsl.fit --config shapes.yaml --config loggers/wandb.yaml": "it needs an account; "
    "tests/commands/test_fit.py runs it offline",
    "python notebooks/render.py": "it trains for minutes; tests/test_notebooks.py executes the "
    "notebooks and compares the pages",
    "python notebooks/render.py tutorial": "as above",
    "python3 -m venv .venv && . .venv/bin/activate": "it makes an environment, as `make` does",
    "sbatch fit.sh": "it needs SLURM; the script is run below",
    "source ~/.zsl_completion": "it changes its shell; tests/commands/test_main.py completes",
    "srun --kill-on-bad-exit": "it needs SLURM; the script is run below",
    "wandb agent ...": "it needs an account; tests/sweeps/test_spec.py calls the agent's code",
    "wandb sweep configs/sweeps/query_augmentation.yaml": "as above",
}
"""Command lines that no test can run: why, and what covers them."""


def is_run_elsewhere(words: list[str]) -> bool:
    """Whether tests/commands/test_configs.py runs it, as of each shipped config."""
    flags, values = words[1::2], words[2::2]
    is_plain = flags in (["--config"], ["--config", "--data.root"])
    return words[0] == "fit" and is_plain and values[0] in CONFIGS


def lines_of(page: str) -> list[str]:
    """The lines that are run for a page: those that no page before has, and preparations."""
    lines, before = [], []
    for own, line in DOCUMENTED:
        words = words_of_zsl(line)
        if own == page and words and not is_run_elsewhere(words) and line not in NOT_RUN:
            lines += [line] if words not in before or words[0] == "prepare" else []
        before.append(words)
    return lines


PAGES_OF_ZSL = [page for page in PAGES if lines_of(page)]


def test_every_command_line_is_run_or_stands_in_the_table() -> None:
    lines = {line for _, line in DOCUMENTED}
    assert len(lines) > 150
    for table in (NOT_RUN, BENCHMARKS):
        gone = table.keys() - lines
        assert not gone, f"No page shows {gone} any more; take them out of the table."
    for text in MEANINGS:
        is_there = any(text in synopsis_taken(line) for line in lines)
        assert is_there, f"No page has {text!r} any more; take it out of MEANINGS."
    for page, line in DOCUMENTED:
        is_seen_to = line in BENCHMARKS or line.startswith(("#!", "make ", "pip install"))
        assert words_of_zsl(line) or is_seen_to or line in NOT_RUN, (
            f"{page} shows `{line}`, which no test runs. Let tests/pages run it, or name it in "
            "NOT_RUN with the reason and what covers it."
        )


@pytest.fixture
def small(in_tmp_path: Path, checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """A workplace; what takes long or does not end is cut short, nothing reaches the network."""
    monkeypatch.delenv("ZSL_SHARED", raising=False)
    monkeypatch.syspath_prepend(str(in_tmp_path))  # As `python -m` does.
    weights = str(write_weights(in_tmp_path / "weights.pt"))
    backbone = TimmBackboneConfig("test_resnet", weights=weights, frozen=True)
    two = OwnClasses(["dog", "goldfish"], ["dog: a pet", "goldfish: a fish"], torch.randn(2, 96))
    monkeypatch.setattr(ready, "BACKBONE", backbone)
    monkeypatch.setattr(ready, "IMAGE_SIZE", 32)
    monkeypatch.setattr(ready, "own_classes", lambda *_: two)
    monkeypatch.setattr("uvicorn.Server.run", lambda *_, **__: None)
    monkeypatch.setattr(runner, "_start_fit", fit_here)
    monkeypatch.setattr(Sweep, "examples", first_and_last)
    return Workplace(in_tmp_path, checkpoints)


def first_and_last(sweep: Sweep) -> list[dict[str, Any]]:
    """Two points to check; tests/sweeps/test_spec.py checks all of the shipped files."""
    values = {name: values_of(own) for name, own in sweep.parameters.items()}
    return [{name: own[at] for name, own in values.items()} for at in (0, -1)]


def fit_here(args: list[str], folder: Path, environment: dict[str, str]) -> Any:
    """Runs a trial of a sweep in this process, which has imported what it needs."""
    folder.mkdir(parents=True)
    (folder / "log.txt").touch()
    code = fit([*args, f"--run_folder={folder}"])
    return SimpleNamespace(poll=lambda: code, terminate=int, kill=int, wait=lambda **_: code)


def run(line: str, place: Workplace, monkeypatch: pytest.MonkeyPatch) -> int | str | None:
    """Runs a line, but for where a shell puts what is printed; returns the exit code."""
    words = place.complete(words_of_zsl(line.partition(" > ")[0]))
    try:
        if {"--devices", "--nodes"} & {*words}:
            return run_command(monkeypatch, zsl, words)
        return zsl(words)
    except SystemExit as error:
        return error.code or 0


@pytest.mark.parametrize("page", PAGES_OF_ZSL)
def test_the_commands_of_a_page_run(
    page: str,
    small: Workplace,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """In their order and in one folder, as a reader gives them."""
    for line in lines_of(page):
        code = run(line, small, monkeypatch)
        assert code == 0, f"{page} shows `{line}`, which ends with exit code {code}."
    if page == "README.md":
        told = re.findall(r"^Next: .+$", (ROOT / page).read_text("utf-8"), re.MULTILINE)
        assert told
        output = capfd.readouterr().out.replace("python -m zsl.", "zsl ")  # As the page calls it.
        assert {*told} <= {*output.splitlines()}


@pytest.mark.parametrize(
    "line", sorted({line for _, line in DOCUMENTED if line.startswith("make ")})
)
def test_make_has_what_it_is_asked_for(line: str) -> None:
    """Nothing is made: that would install, or run the tests."""
    outside = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    command = [*shlex.split(line), "--dry-run", "--always-make"]
    told = subprocess.run(command, cwd=ROOT, env=outside, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    run = {"fit": ["zsl.fit --config shapes.yaml"], "test": ["ruff", "lint-imports", "mypy"]}
    assert all(word in told.stdout for word in run.get(line.split()[-1], []))


def test_extras_that_are_installed_are_there() -> None:
    """Nothing is installed: that would download."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = setup["options.extras_require"]
    lines = [line for _, line in DOCUMENTED if line.startswith("pip install")]
    for line in {*lines} - NOT_RUN.keys():
        for word in shlex.split(line)[2:]:
            named = re.fullmatch(r"-e|\.\[([\w,]+)\]", word)
            assert named, f"`{line}` names what is not of this checkout."
            assert {*(named[1] or "").split(",")} <= {*extras, ""}, line


def test_the_script_of_slurm_goes_on_and_is_queued_again(tmp_path: Path) -> None:
    """With commands in the place of SLURM's, of which each notes what it was asked for."""
    (script,) = (line for _, line in DOCUMENTED if line.startswith("#!"))
    (tmp_path / "fit.sh").write_text(script)
    for name in ("srun", "scontrol"):
        path = tmp_path / name
        path.write_text(f'#!/bin/bash\necho {name} "$@" >> asked\nexit $CODE\n')
        path.chmod(0o755)

    def submit(code: int) -> list[str]:
        (tmp_path / "asked").write_text("")
        path = f"{tmp_path}:{os.environ['PATH']}"
        slurm = {"SLURM_CPUS_PER_TASK": "8", "SLURM_JOB_ID": "7", "CODE": str(code), "PATH": path}
        job = subprocess.run(["bash", "fit.sh"], cwd=tmp_path, env=slurm)
        assert job.returncode == code
        return (tmp_path / "asked").read_text().splitlines()

    (first,) = submit(0)
    # It is a command that is run above.
    others = [line for _, line in DOCUMENTED if not line.startswith("#!")]
    assert words_of_zsl(first) in map(words_of_zsl, others)
    run = tmp_path / "runs" / "imagenet_resnet50" / "version_0" / "checkpoints"
    run.mkdir(parents=True)
    (run / "last.ckpt").touch()
    assert submit(143) == [f"{first} --ckpt_path last", "scontrol requeue 7"]
    assert submit(2) == [f"{first} --ckpt_path last"]
