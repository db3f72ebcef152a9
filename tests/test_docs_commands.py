"""Every command line of the pages is one that the commands take; what is quick is run too."""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest

from zsl.commands import demo, evaluate, export, fit_parser, predict, prepare, search
from zsl.commands.configs import find_config, resolve_configs
from zsl.errors import InputError, require
from zsl.sweeps.command import _parser as sweep_parser

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# In a block of code, from a prompt or the start of a line on; or in a line, between backticks.
IN_BLOCK = re.compile(r"^(?:\$ |.*?\b)?(?:python -m zsl\.|(?<=\$ )zsl )(.+)$", re.MULTILINE)
IN_LINE = re.compile(r"`python -m zsl\.([^`]+ [^`]+)`")
SYNOPSIS = re.compile(r"\[|\bNAME\b|\bFILE\b|\.\.\.(?!\w)|\$(?!resume)|&&")


def commands(page: Path) -> Iterator[list[str]]:
    """Yields name and arguments of each complete command of a page."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = "\n".join(re.findall(r"^```(?:bash)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    found = IN_BLOCK.findall(blocks) + IN_LINE.findall(prose)
    for line in found:
        line = re.split(r"\s{2,}# ", line)[0].removesuffix(" $resume")
        if not SYNOPSIS.search(line):
            yield shlex.split(line)


FOUND = [(page, command) for page in PAGES for command in commands(page)]


def parse_fit(args: list[str]) -> Any:
    """Of what is run before anything is read; help and the like have tests of their own."""
    if {"--help", "--help_all", "--print_config"} & {*args} or args[0].endswith(".help"):
        return None
    return fit_parser.parse_config(resolve_configs(args))


def parse_prepare(args: list[str]) -> Any:
    """Features and shards have the arguments of zsl.fit, and an output."""
    kind, *rest = args
    if kind in ("features", "shards"):
        output = rest.index("--output") if "--output" in rest else len(rest)
        return parse_fit(rest[:output] + rest[output + 2 :])
    # Nothing lies where the page says: the folder is what is refused, not an argument.
    said = io.StringIO()
    with redirect_stderr(said):
        assert prepare.main(args) == 2
    require(rest[rest.index("--root") + 1] in said.getvalue(), said.getvalue())
    return None


def parse_sweep(args: list[str]) -> Any:
    if (ROOT / "configs" / args[0]).is_file():  # Else one of the reader's own.
        find_config(args[0], "sweep file")
    _, rest = sweep_parser().parse_known_args(args)
    return parse_fit(rest) if "--config" in rest else None


PARSERS: dict[str, Callable[[list[str]], Any]] = {
    "fit": parse_fit,
    "labels": parse_fit,
    "prepare": parse_prepare,
    "sweep": parse_sweep,
    "evaluate": evaluate.parse,
    "predict": predict.parse,
    "search": search.parse,
    "export": export.parse,
    "demo": demo.parse,
}


def test_every_command_of_the_pages_is_parsed(
    in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "own_parts.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    Path("my_parts.py").write_text("\n\n".join(examples))
    Path("own.yaml").write_text(re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[0])
    Path("texts.yaml").write_text("dog: a pet that barks\n")
    monkeypatch.syspath_prepend(str(in_tmp_path))
    assert len(FOUND) > 60
    assert {command[0] for _, command in FOUND} == {*PARSERS}
    refused = []
    for path, (name, *args) in FOUND:
        try:
            PARSERS[name](args)
        except (InputError, SystemExit) as error:
            refused.append(f"{path.name}: zsl {name} {shlex.join(args)}: {error}")
    assert refused == []
