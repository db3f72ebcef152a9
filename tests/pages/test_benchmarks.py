"""Every benchmark that the pages name is run, with tiny models on little data."""

from __future__ import annotations

import io
import logging
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.fakes.image_folder import write_image_folder
from tests.pages.benchmarks import BENCHMARKS
from tests.pages.find import DOCUMENTED, PAGES, ROOT
from tests.pages.meanings import with_meanings
from tests.pages.workplace import Workplace
from zsl.data.openimages.datamodule import OpenImagesDataset
from zsl.data.shards import ShardDataset

NAMES = [page for page in PAGES if any((page, line) in DOCUMENTED for line in BENCHMARKS)]
LOGGERS = ["pytorch_lightning", "lightning_fabric"]


@pytest.fixture
def place(
    in_tmp_path: Path, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workplace]:
    """A workplace with the data of the pages' measurements."""
    monkeypatch.delenv("ZSL_SHARED", raising=False)
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    for dataset in (OpenImagesDataset, ShardDataset):  # large_index.py replaces it.
        monkeypatch.setattr(dataset, "pixels", dataset.pixels)
    place = Workplace(in_tmp_path, checkpoints)
    for name in ("daquar", "fashion", "mosaics"):
        place.link(Path(name), "table.yaml")
        Path(f"{name}.txt").write_text("red: the colour of blood\n")
    write_image_folder(Path("cifar10"))
    noise = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)
    Image.fromarray(noise).save("daquar/noise.jpg")
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    yield place
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.parametrize("page", NAMES)
def test_the_benchmarks_of_a_page_run(
    page: str, place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for own, line in DOCUMENTED:
        if own == page and line in BENCHMARKS:
            run(line, place, monkeypatch)


def run(line: str, place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a benchmark in this process, with what it would start in others."""
    script, *words = shlex.split(with_meanings(line).partition("python ")[2])
    module = import_module(Path(script).stem)
    small = BENCHMARKS[line]
    words = [*place.complete(words), *small.arguments.split()]

    def run_here(command: list[str], **_: Any) -> SimpleNamespace:
        with monkeypatch.context() as patch, redirect_stdout(io.StringIO()) as output:
            patch.setattr(sys, "argv", command[1:])
            module.main()
        return SimpleNamespace(stdout=output.getvalue())

    def smaller(command: Callable[[list[str]], int]) -> Callable[[list[str]], int]:
        own = [one for one in place.miniature("table.yaml")[0] if "--model.head." not in one]
        return lambda args: command([*args, *own])

    with monkeypatch.context() as patch:
        for name, value in small.replaced(module).items():
            patch.setattr(module, name, value)
        for name in ("fit", "prepare"):
            if hasattr(module, name):
                patch.setattr(module, name, smaller(getattr(module, name)))
        if hasattr(module, "subprocess"):
            patch.setattr(module, "subprocess", SimpleNamespace(run=run_here))
        patch.setattr(sys, "argv", [script, *words])
        module.main()
