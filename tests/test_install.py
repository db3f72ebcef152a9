"""The editable installation of the README."""

import os
import shutil
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from fnmatch import fnmatch
from pathlib import Path

from zsl.inference.export_formats import LEAST_TORCH, PACKAGES

ROOT = Path(__file__).parents[1]
BUILD = "import sys; from setuptools.build_meta import build_editable; build_editable(sys.argv[1])"
IMPORT = "import site, sys; site.addsitedir(sys.argv[1]); import zsl; print(zsl.__file__)"


def test_the_packages_that_export_asks_for_are_those_of_its_extra() -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extra = setup["options.extras_require"]["export"].split()
    assert extra[-1] == f"torch>={LEAST_TORCH}"
    assert [line.partition(">=")[0] for line in extra[:-1]] == list(PACKAGES)


def test_no_page_or_message_installs_what_bears_the_name_on_the_index() -> None:
    """It is another project's; in a clone it is `pip install -e '.[EXTRA]'`."""
    for folder in ("zsl", "docs", "notebooks"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".md", ".ipynb"):
                assert "zsl[" not in path.read_text(), path


def test_files_that_are_not_code_are_package_data() -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert "texts/*.yaml" in setup["options.package_data"]["zsl.labels"]
    patterns = [
        f"{package.replace('.', '/')}/{pattern.strip()}"
        for package, found in setup["options.package_data"].items()
        for pattern in found.split(",")
    ]
    for path in (ROOT / "zsl").rglob("*"):
        if path.is_file() and path.suffix not in (".py", ".pyc"):
            name = path.relative_to(ROOT).as_posix()
            assert any(fnmatch(name, pattern) for pattern in patterns), name


def test_the_folder_of_a_clone_does_not_stand_for_the_package(tmp_path: Path) -> None:
    clone, site = tmp_path / "zsl", tmp_path / "site"
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("zsl", "configs"):
        shutil.copytree(ROOT / name, clone / name, ignore=ignore)
    for name in ("setup.cfg", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, clone)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    build = [sys.executable, "-c", BUILD, str(site)]
    site.mkdir()
    subprocess.run(build, cwd=clone, check=True, capture_output=True, env=environment)
    (wheel,) = site.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(site)
    # From the parent folder, without the packages of this environment: zsl may be among them.
    found = subprocess.run(
        [sys.executable, "-S", "-c", IMPORT, str(site)],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert found.stdout.strip() == str(clone / "zsl" / "__init__.py")
