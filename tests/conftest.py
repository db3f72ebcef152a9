import os

os.environ["HF_HUB_OFFLINE"] = "1"  # Read once, when huggingface_hub is imported.
# Of these tests and of the processes they start: two workers share two cores.
os.environ["OMP_NUM_THREADS"] = "1"

import io
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from tests.fakes.nuswide import FakeNUSWide
from tests.fakes.table import write_table_dataset
from tests.sweeps import fakes as sweeps
from zsl.evaluation import charts, svg_charts

_DRAWING = {(charts, "save_chart"): charts.save_chart, (svg_charts, "as_svg"): svg_charts.as_svg}


@pytest.fixture(scope="session", autouse=True)
def _environment(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["ZSL_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session", autouse=True)
def _blank_charts() -> Iterator[None]:
    """Charts are blank, since each takes up to a second; the mark `draws` lifts this."""

    def save_blank(path: Path, draw: Callable[[], Figure]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (1, 1)).save(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(charts, "save_chart", save_blank)
        patch.setattr(svg_charts, "as_svg", lambda draw: b"<svg/>")
        yield


@pytest.fixture(autouse=True)
def _drawn_charts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("draws"):
        for (module, name), original in _DRAWING.items():
            monkeypatch.setattr(module, name, original)


@pytest.fixture
def table_root(tmp_path: Path) -> Path:
    """A miniature table dataset: 40 pictures, 8 labels."""
    return write_table_dataset(tmp_path / "photos")


@pytest.fixture
def fake_nuswide(tmp_path: Path) -> FakeNUSWide:
    """A miniature NUS-WIDE in the official layout: 40 pictures, 13 labels."""
    return FakeNUSWide(tmp_path / "nuswide").write_official()


@pytest.fixture
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, empty."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a sweep of two settings ran; `output.txt` is what it printed."""
    folder = tmp_path_factory.mktemp("swept")
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as output:
        patch.chdir(folder)
        sweeps.write(
            parameters={
                "model": {
                    "values": [{"augmentation": {"noise": 0.0}}, {"augmentation": {"dropout": 0.3}}]
                }
            }
        )
        assert sweeps.run("--processes=2", "--seed_everything=5") == 0
        Path("output.txt").write_text(output.getvalue())
    return folder


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data; the test is skipped where it is not at hand."""
    folder = os.environ.get("ZSL_SHARED")
    if not folder:
        pytest.skip("ZSL_SHARED is not set")
    return Path(folder)
