"""Executes notebooks and renders each to a page of the same name in docs.

python notebooks/render.py [NAME ...]

explore_unseen shows the run of `make fit`, or the newest of shapes; run the tutorial before it.
Progress and widgets are left out; images become JPEG where that is smaller.
"""

from __future__ import annotations

import io
import re
import sys
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbconvert import MarkdownExporter
from PIL import Image

NOTEBOOKS = Path(__file__).parent
DOCS = NOTEBOOKS.parent / "docs"
_WIDGET = "application/vnd.jupyter.widget-view+json"
RENDERED = ("tutorial", "explore_unseen", "bring_your_own_data")


def shrink(data: dict[str, Any]) -> None:
    """Puts JPEG in the place of PNG where it is smaller, and leaves HTML out."""
    data.pop("text/html", None)
    if png := data.get("image/png"):
        buffer = io.BytesIO()
        Image.open(io.BytesIO(b64decode(png))).convert("RGB").save(buffer, "JPEG", quality=85)
        jpeg = b64encode(buffer.getvalue()).decode()
        if len(jpeg) < len(png):
            data["image/jpeg"] = jpeg
            del data["image/png"]


def page_links(text: str) -> str:
    """Lets links of a notebook lead to the pages, of other notebooks too.

    >>> page_links("[a](../docs/a.md), [b](b.ipynb)")
    '[a](a.md), [b](b.md)'
    """
    return re.sub(r"\]\((\w+)\.ipynb\)", r"](\1.md)", text.replace("](../docs/", "]("))


def readable(text: str) -> str:
    """Leaves out of progress bars all but the end, as a terminal does."""
    return "\n".join(line.rpartition("\r")[2] for line in text.split("\n"))


def is_passing(output: Any) -> bool:
    """Whether an output is a widget, or what a command tells on its way."""
    data = output.get("data", {})
    if _WIDGET in data:
        return True
    return output.get("name") == "stderr" or "\x1b[" in data.get("text/plain", "")


def render(name: str) -> None:
    """Writes the page of a notebook and its images."""
    path = NOTEBOOKS / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    resources: Any = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=None, kernel_name="python3", resources=resources).execute()
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = page_links(cell.source)
            continue
        cell.outputs = [output for output in cell.outputs if not is_passing(output)]
        for output in cell.outputs:
            shrink(output.get("data", {}))
            if "text" in output:
                output.text = readable(output.text)
    names = {"unique_key": name, "output_files_dir": name}
    text, resources = MarkdownExporter().from_notebook_node(notebook, names)
    folder = DOCS / name
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for image, content in resources["outputs"].items():
        (DOCS / image).write_bytes(content)
    lines = [line.rstrip() for line in text.strip().splitlines()]
    text = re.sub(r"\n{4,}", "\n\n\n", "\n".join(lines))
    (DOCS / f"{name}.md").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    for name in sys.argv[1:] or RENDERED:
        render(name)
