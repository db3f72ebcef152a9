"""`zsl fit ...`, the same as `python -m zsl.fit ...`; it imports the chosen command alone."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from zsl.errors import did_you_mean
from zsl.versions import __version__

COMMANDS = {
    "fit": ("zsl.commands.fit", "Train a tagger, and test its best checkpoint."),
    "evaluate": ("zsl.commands.evaluate", "Test checkpoints, compare them, write a report."),
    "predict": ("zsl.commands.predict", "Tag images with any labels."),
    "search": ("zsl.commands.search", "Find the images of folders that any words fit."),
    "demo": ("zsl.commands.demo", "Serve a page that tags images with any words."),
    "export": ("zsl.commands.export", "Write a model as ONNX, or in torch.export's format."),
    "prepare": (
        "zsl.commands.prepare",
        "Make a data set of photographs; do once what trainings share.",
    ),
    "sweep": ("zsl.sweeps.command", "Train with many settings, and compare them."),
    "labels": ("zsl.commands.labels", "Show how labels are embedded, and what is near to them."),
    "completion": ("zsl.commands.completion", "Print a script that completes all of these."),
}

_HELP = """usage: zsl COMMAND [arguments]

{commands}

zsl COMMAND --help explains a command. All take --version, and --quiet, which
leaves out progress and notes: results and errors remain."""


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command that the first argument names; returns its exit code."""
    name, *rest = (sys.argv[1:] if args is None else args) or ["--help"]
    if name == "--quiet" and rest:
        name, rest = rest[0], [*rest[1:], name]
    if name in COMMANDS:
        module, _ = COMMANDS[name]
        return int(import_module(module).main(rest))
    if name in ("-h", "--help"):
        lines = (f"  {command:<11} {about}" for command, (_, about) in COMMANDS.items())
        print(_HELP.format(commands="\n".join(lines)))
        return 0
    if name == "--version":
        print(f"zsl {__version__}")
        return 0
    known = f"expected {', '.join(COMMANDS)}.{did_you_mean(name, COMMANDS)}"
    print(f"error: zsl knows no command {name!r}; {known}", file=sys.stderr)
    return 2
