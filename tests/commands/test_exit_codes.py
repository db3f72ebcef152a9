import subprocess
import sys

import pytest


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
