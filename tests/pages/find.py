"""The command lines that the documentation pages show."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
_DOCS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))
PAGES = ["README.md", "CONTRIBUTING.md", *_DOCS]
_PROGRAM = re.compile(
    r"(?:[A-Z_]+=\S* )*"  # The environment of a command.
    r"(?:zsl|python3?|torchrun|srun|sbatch|make|pip|mkdocs|pytest|jupyter|conda|docker|git|sudo"
    r"|apt-get|curl|wget|tar|unzip|cd|ls|export|echo|source|\.|wandb|optuna|exiftool|ruff|mypy"
    r"|lint-imports|pre-commit)(?= |$)"
)
"""How a command line begins."""
_SHORT = re.compile(r"zsl\.[a-z]+ |benchmarks/\w+\.py ")
"""How one begins in prose that leaves out `python -m` or `python`."""
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`]+)`")


class Documented(NamedTuple):
    """A command line."""

    page: str
    """The file that shows it."""
    line: str
    """As it is there, but on a single line."""


def command_lines(text: str) -> Iterator[str]:
    r"""Yields the command lines of a page: of its blocks, then of its prose; scripts whole.

    >>> page = '''Run `make fit`, or:
    ... ```
    ... zsl fit --config a.yaml \\
    ...     --config b.yaml   # as well
    ... ```
    ... '''
    >>> list(command_lines(page))
    ['zsl fit --config a.yaml --config b.yaml', 'make fit']
    """
    for language, block in _FENCED.findall(text):
        if language in ("", "bash", "console"):
            yield from _lines_of_block(block)
    for code in _INLINE.findall(_FENCED.sub("", text)):
        line = " ".join(code.split())
        if _SHORT.match(line):
            line = f"python -m {line}" if line.startswith("zsl.") else f"python {line}"
        if _PROGRAM.match(line) and " " in line:
            yield line


def _lines_of_block(block: str) -> Iterator[str]:
    """Yields those after a prompt, if there is one; else all, if the first one is a command."""
    if block.startswith("#!"):
        yield block
        return
    found = [line.strip() for line in block.replace("\\\n", "").splitlines() if line.strip()]
    prompted = [line for line in found if line.startswith(("$ ", "Next: "))]
    if not prompted and not _PROGRAM.match(found[0]):
        return  # An output, a listing of files.
    for line in prompted or found:
        line = line.removeprefix("$ ").removeprefix("Next: ")
        yield " ".join(line.partition("  # ")[0].split())


DOCUMENTED = [
    Documented(page, line)
    for page in PAGES
    for line in dict.fromkeys(command_lines((ROOT / page).read_text(encoding="utf-8")))
]
"""The command lines of all pages, in their order."""
