"""`zsl completion`: a script with which bash and zsh complete commands, arguments and configs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from importlib import import_module
from io import StringIO

from zsl.commands.configs import shipped_names
from zsl.commands.exit_codes import exit_code
from zsl.commands.main import COMMANDS

_HELP = """usage: zsl completion

Prints a script for bash and zsh, made from the help of all commands. To use it, add a line to
~/.bashrc or ~/.zshrc that reads it:

  zsl completion > ~/.zsl_completion
  echo 'source ~/.zsl_completion' >> ~/.bashrc"""
_SCRIPT = """# Made by `zsl completion`; zsh reads it through its own layer for bash.
if [ -n "$ZSH_VERSION" ]; then
    autoload -U +X compinit && compinit
    autoload -U +X bashcompinit && bashcompinit
fi
_zsl() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} words=
    if [[ $COMP_CWORD == 1 ]]; then
        words="{commands} --help --version"
    elif [[ $previous == --config || $previous == -c ]]; then
        words="{configs}"
    elif [[ $COMP_CWORD == 2 && $current != -* ]]; then
        case ${{COMP_WORDS[1]}} in
            prepare) words="table nuswide features shards" ;;
            sweep) words="{sweeps}" ;;
        esac
    elif [[ $current == -* ]]; then
        case ${{COMP_WORDS[1]}} in
{flags}
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _zsl zsl"""
_HELPS = {
    "fit": [["--help"], ["--help_all"]],
    "prepare": [["--help"], ["table", "--help"], ["nuswide", "--help"]],
}
_TAKE_ARGUMENTS_OF_FIT = ("evaluate", "prepare", "sweep", "labels")


def complete(args: list[str]) -> None:
    """Prints the script."""
    if args:
        print(_HELP)
        return
    flags = {name: _flags(name) for name in COMMANDS}
    for name in _TAKE_ARGUMENTS_OF_FIT:
        flags[name] |= flags["fit"]
    lines = (f'            {name}) words="{" ".join(sorted(flags[name]))}" ;;' for name in flags)
    print(
        _SCRIPT.format(
            commands=" ".join(COMMANDS),
            configs=" ".join(shipped_names()),
            sweeps=" ".join(shipped_names("sweep file")),
            flags="\n".join(lines),
        )
    )


def _flags(name: str) -> set[str]:
    """The arguments that a command's help names."""
    text = StringIO()
    command = import_module(COMMANDS[name][0]).main
    with redirect_stdout(text):
        for args in _HELPS.get(name, [["--help"]]):
            with suppress(SystemExit):
                command(args)
    return {"--quiet", "--version", *re.findall(r"--[a-z][\w.]*\w", text.getvalue())}


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return exit_code(complete, args)
