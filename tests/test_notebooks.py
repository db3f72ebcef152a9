"""The notebooks, executed on miniature data."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import nbformat
import pytest
import render
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

from tests.fakes.checkpoints import write_checkpoint
from tests.fakes.runs import QUICK, TINY_MODEL, TINY_SHAPES, read_csv
from tests.fakes.table import write_table_dataset
from tests.fakes.weights import write_weights

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def execute(name: str, folder: Path, parameters: dict[str, Any], *more: str) -> dict[str, Any]:
    """Runs a notebook in a folder, with other parameters and further cells.

    Returns:
        The code cells by id; the further ones are `more-0`, `more-1` and so on.
    """
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    (own,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    own.source += "".join(f"\n{key} = {value!r}" for key, value in parameters.items())
    for number, source in enumerate(more):
        notebook.cells.append(new_code_cell(source, id=f"more-{number}"))
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources=resources).execute()
    return {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}


def text_of(cell: Any) -> str:
    """What a cell printed or showed, as text."""
    printed = [output.get("text", "") for output in cell.outputs]
    return "".join(
        printed + [output.get("data", {}).get("text/plain", "") for output in cell.outputs]
    )


def num_pictures(cell: Any) -> int:
    return sum("image/png" in output.get("data", {}) for output in cell.outputs)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, and the one of the notebooks."""
    folder = tmp_path_factory.mktemp("explore")
    write_checkpoint(folder / "run")
    (folder / "notebooks").mkdir()
    return folder


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_not_in_git(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert notebook["metadata"].keys() == {"kernelspec", "language_info"}
    for cell in notebook["cells"]:
        assert cell["metadata"].keys() <= {"tags"}
        assert re.fullmatch(r"[a-z-]+", cell["id"])
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


def test_explore_unseen(run: Path) -> None:
    cells = execute(
        "explore_unseen",
        run / "notebooks",
        {"RUN": "run", "WORDS": "pink, red"},
        "field.value = 'red, blurple'",
        "choice.value = unseen['label'].iloc[0]",
    )
    assert "Test on 10 images." in text_of(cells["summary"])
    table = text_of(cells["table"])
    assert "white" in table
    assert "orange" not in table  # A held-out label.
    for name in ("bars", "nearness", "predictions", "shown", "heat-maps"):
        assert num_pictures(cells[name]) == 1, name
    # The answer to other words takes the place of the first one.
    assert num_pictures(cells["answered"]) == 0
    assert "has no vector for the label 'blurple'" in text_of(cells["answered"])
    assert "pink" in text_of(cells["neighbours"])


@pytest.mark.parametrize("name", render.RENDERED)
def test_the_page_is_of_this_notebook(name: str) -> None:
    """It has every cell; the numbers are those of the run that it was rendered on."""
    page = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    for cell in notebook.cells:
        code = cell.cell_type == "code"
        assert (cell.source if code else render.page_links(cell.source)) in page
    assert "it/s]" not in page  # Of a progress bar.
    pictures = re.findall(rf"\]\(({name}/.+?)\)", page)
    assert pictures
    assert all((ROOT / "docs" / picture).is_file() for picture in pictures)


def test_tutorial(in_tmp_path: Path) -> None:
    small = [*TINY_SHAPES, *TINY_MODEL, *QUICK]
    cells = execute("tutorial", in_tmp_path, {"ARGUMENTS": small, "SCENES": "scenes"})
    assert "unseen: 24 labels" in text_of(cells["roles"])
    assert "Test on 16 images." in text_of(cells["fit"])
    assert text_of(cells["tagger"]).count("drawn: ") == 12
    assert "'cat': " in text_of(cells["new-words"])
    for name in ("scenes", "heat-maps"):
        assert num_pictures(cells[name]) == 1, name
    best = text_of(cells["best"]).splitlines()
    assert [line.partition(":")[0] for line in best] == ["pink cross", "green triangle"]
    assert all(line.count("scenes/") == 3 for line in best)


def test_augmentation_sweep(swept: Path) -> None:
    cells = execute("augmentation_sweep", swept, {"SWEEP": "runs/sweeps/tiny"})
    assert "complete    2" in text_of(cells["table"])
    assert "Less 'noise 0'" in text_of(cells["differences"])
    for name in ("strength", "trade-off", "selection", "learning-curves"):
        assert num_pictures(cells[name]) == 1, name


def test_bring_your_own_data(tmp_path: Path) -> None:
    (write_table_dataset(tmp_path / "photos", 60) / "labels.csv").rename(
        tmp_path / "photos" / "tags.csv"
    )
    weights = f"--model.backbone.weights={write_weights(tmp_path / 'weights.pt')}"
    sizes = [weights, "--data.images.size=32", "--data.num_workers=0"]
    cells = execute(
        "bring_your_own_data",
        tmp_path,
        {
            "LEAST": 2,
            "ARGUMENTS": [*TINY_MODEL, *QUICK, *sizes],
            "WORDS": ["pink", "a red ball"],
        },
    )
    assert "60 images, 8 labels, 8 of them" in text_of(cells["count"])
    classes = read_csv(tmp_path / "photos" / "classes.csv")
    role_of = {row["name"]: row["role"] for row in classes}
    assert Counter(role_of.values()) == {"seen": 6, "held_out": 1, "unseen": 1}
    for row in read_csv(tmp_path / "photos" / "labels.csv"):
        roles = {role_of[name] for name in row["labels"].split("|")}
        assert row["split"] == "test" or "unseen" not in roles
        assert row["split"] != "train" or "held_out" not in roles
    assert "Test on" in text_of(cells["fit"])
    assert num_pictures(cells["report"]) == 1
    assert "best of the words is" in text_of(cells["predict"])
    assert (tmp_path / "my-tagger" / "model.safetensors").is_file()
