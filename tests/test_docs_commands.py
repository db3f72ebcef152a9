"""Every command line of the pages is one that the commands take; what is quick is run too."""

from __future__ import annotations

import io
import re
import shlex
import shutil
from argparse import ArgumentError
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.checkpoints import write_calibrated
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
    fenced = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    blocks = "\n".join(code for language, code in fenced.findall(text) if language in ("", "bash"))
    prose = fenced.sub("", text)
    found = IN_BLOCK.findall(blocks) + IN_LINE.findall(prose)
    for line in found:
        line = re.split(r"\s{2,}# ", line)[0].removesuffix(" $resume")
        if not SYNOPSIS.search(line):
            yield shlex.split(line)


FOUND = [(page, command) for page in PAGES for command in commands(page)]


def parse_fit(args: list[str]) -> Any:
    """Of what is run before anything is read; help and the like have tests of their own."""
    if {"--help", "--help_all", "--print_config"} & {*args} or "--config" not in args:
        return None
    args = without(args, "--ckpt_path")  # It has to be there.
    return fit_parser.parse_config(resolve_configs(args))


def without(args: list[str], *flags: str) -> list[str]:
    """Leaves out some flags and the value after each."""
    pairs = zip(args, [None, *args], strict=False)
    return [own for own, before in pairs if not {own, before} & {*flags}]


def parse_prepare(args: list[str]) -> Any:
    """Features and shards have the arguments of zsl.fit, and an output."""
    args = without(args, "--devices", "--nodes")
    kind, *rest = args
    if kind in ("features", "shards"):
        return parse_fit(without(rest, "--output"))
    if not rest:
        return None  # The command is named, not called.
    # Nothing lies where the page says: the folder is what is refused, not an argument.
    said = io.StringIO()
    with redirect_stderr(said):
        assert prepare.main(args) == 2
    require(rest[rest.index("--root") + 1] in said.getvalue(), said.getvalue())
    return None


def parse_evaluate(args: list[str]) -> Any:
    own, of_fit = evaluate.split_arguments(args)
    evaluate.parse(own)
    return parse_fit(of_fit) if of_fit else None


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
    "evaluate": parse_evaluate,
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
    Path("photos").mkdir()
    config = Path(find_config("table.yaml")).read_text(encoding="utf-8")
    Path("photos", "zsl.yaml").write_text(
        config.replace("init_args:\n", "init_args:\n    root: .\n", 1)
    )
    Path("texts.yaml").write_text("dog: a pet that barks\n")
    monkeypatch.syspath_prepend(str(in_tmp_path))
    assert len(FOUND) > 60
    assert {command[0] for _, command in FOUND} == {*PARSERS}
    refused = []
    for path, (name, *args) in FOUND:
        try:
            PARSERS[name](args)
        except (ArgumentError, InputError, SystemExit) as error:
            refused.append(f"{path.name}: zsl {name} {shlex.join(args)}: {error}")
    assert "\n".join(refused) == ""


RUN = {
    "evaluate": evaluate.main,
    "export": export.main,
    "predict": predict.main,
    "search": search.main,
}


def with_known_words(args: list[str]) -> list[str]:
    """In place of words those that the tiny checkpoint has vectors of."""
    known = list(args)
    for position, argument in enumerate(args[1:], 1):
        if args[position - 1] == "--labels" and argument not in ("checkpoint", "words.txt"):
            known[position] = "pink, red"
    return known


def test_the_commands_of_a_checkpoint_run(in_tmp_path: Path) -> None:
    """Those of which all files are at hand, in one process, on a tiny checkpoint."""
    write_calibrated(in_tmp_path / "runs" / "table" / "version_0")
    checkpoint = Path("runs/table/version_0/checkpoints/best.ckpt").resolve()
    photos = Path("runs/table/version_0/photos/images").resolve()
    shutil.copytree(checkpoint.parents[1], "B")
    for name in ("runs/table/latest", "runs/shapes/latest", "A"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).symlink_to(checkpoint.parents[1], target_is_directory=True)
    for name in ("photos", "scenes"):
        Path(name).symlink_to(photos, target_is_directory=True)
    Path("best.ckpt").symlink_to(checkpoint)
    Path("words.txt").write_text("pink\nred\n")
    ran = set()
    for page, (name, *args) in FOUND:
        own = name in RUN and "--checkpoint" in args and not {"--devices", "--nodes"} & {*args}
        if own and Path(args[args.index("--checkpoint") + 1]).exists():
            assert RUN[name](with_known_words(args)) == 0, f"{page.name}: {name} {args}"
            ran.add(name)
    assert ran == {*RUN}
