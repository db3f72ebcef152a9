"""Executes explore_unseen.ipynb on the run of `make fit` and renders it to docs/explore_unseen.md.

python notebooks/render.py

Progress and widgets are left out; pictures become JPEG where that is smaller.
"""

from __future__ import annotations

import io
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbconvert import MarkdownExporter
from PIL import Image

NOTEBOOK = Path(__file__).with_name("explore_unseen.ipynb")
DOCS = NOTEBOOK.parents[1] / "docs"
PICTURES = "explore_unseen"


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


def main() -> None:
    """Writes the page and its pictures."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources: Any = {"metadata": {"path": str(NOTEBOOK.parent)}}
    NotebookClient(notebook, timeout=None, kernel_name="python3", resources=resources).execute()
    for cell in notebook.cells:
        if {"progress", "widget"} & set(cell.metadata.get("tags", ())):
            cell.outputs = []
        for output in cell.get("outputs", ()):
            shrink(output.get("data", {}))
    names = {"unique_key": PICTURES, "output_files_dir": PICTURES}
    text, resources = MarkdownExporter().from_notebook_node(notebook, names)
    folder = DOCS / PICTURES
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for name, content in resources["outputs"].items():
        (DOCS / name).write_bytes(content)
    (DOCS / f"{PICTURES}.md").write_text(text.strip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
