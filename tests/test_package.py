"""The wheel and the source distribution, as a package index would serve them."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from configparser import ConfigParser
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from zsl.commands.main import main

ROOT = Path(__file__).parents[1]
SOURCE = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "THIRD_PARTY_NOTICES.md")
HELD = (
    *("zsl/configs/shapes.yaml", "zsl/configs/loggers/wandb.yaml"),
    *("zsl/labels/texts/coco.yaml", "zsl/evaluation/templates/report.html"),
    *("zsl/inference/templates/model_card.md", "zsl/demo_page/page.css", "zsl/demo_page/page.js"),
    "zsl/py.typed",
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution and the wheel that is built from it."""
    source, dist = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in ("zsl", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in SOURCE:
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(dist), str(source)]
    result = subprocess.run(build, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    return dist


def test_they_hold_what_is_not_code(built: Path) -> None:
    (wheel,), (source,) = built.glob("*.whl"), built.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        (info,) = (name for name in names if name.endswith("/entry_points.txt"))
        entry_points = ConfigParser()
        entry_points.read_string(file.read(info).decode())
    assert {*HELD} <= names
    code = {path.relative_to(ROOT).as_posix() for path in (ROOT / "zsl").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == code
    licences = {name.partition("/licenses/")[2] for name in names if "/licenses/" in name}
    assert licences == {"LICENSE", "THIRD_PARTY_NOTICES.md"}
    script = EntryPoint("zsl", entry_points["console_scripts"]["zsl"], "console_scripts")
    assert script.load() is main
    with tarfile.open(source) as file:
        tracked = {name.partition("/")[2] for name in file.getnames()}
    assert {name.replace("zsl/configs", "configs") for name in HELD} <= tracked
    assert {*SOURCE} <= tracked


def test_twine_accepts_them(built: Path) -> None:
    check = [sys.executable, "-m", "twine", "check", "--strict", *map(str, built.iterdir())]
    result = subprocess.run(check, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
    assert result.stdout.count("PASSED") == 2


@pytest.mark.slow
def test_what_is_installed_runs(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, "--target", str(site), str(wheel)], check=True)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    for args, expected in (
        (["--help"], "usage: zsl COMMAND"),
        (["predict", "--help"], "usage: zsl predict"),
        (["fit", "--help"], "shapes.yaml"),
    ):
        result = subprocess.run(
            [site / "bin" / "zsl", *args],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert expected in result.stdout
