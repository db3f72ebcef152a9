import subprocess
import sys

import pytest

from zsl.commands.exit_codes import exit_code


@pytest.mark.parametrize("command", ["labels", "prepare", "search", "sweep"])
def test_a_reader_may_close_the_pipe_of_any_command(command: str) -> None:
    """As `--help | head -1` does; what is left is flushed when Python ends."""
    arguments = [sys.executable, "-m", f"zsl.{command}", "--help"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode in (0, 141)


def test_what_wandb_refuses_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    errors = pytest.importorskip("wandb.errors")

    def command(args: list[str]) -> None:
        raise errors.UsageError("No API key configured. Use `wandb login` to log in.")

    assert exit_code(command, []) == 2
    assert capsys.readouterr().err == (
        "error: Weights & Biases: No API key configured. Use `wandb login` to log in; or set "
        "WANDB_MODE=offline, which needs no account.\n"
    )
