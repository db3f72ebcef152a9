"""A terminal that a command of this process writes to."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
import threading
from collections.abc import Callable

import pytest


def shown_on_terminal(run: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> str:
    """Returns what a function writes to stdout and stderr where both are a terminal, as it comes.

    The terminal has 80 columns.
    """
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    parts: list[bytes] = []

    def read() -> None:
        try:
            while part := os.read(master, 65536):
                parts.append(part)
        except OSError:  # Nobody writes to it any more.
            pass

    reader = threading.Thread(target=read)
    reader.start()
    with monkeypatch.context() as patch, open(slave, "w", encoding="utf-8") as terminal:
        patch.setattr("sys.stdout", terminal)
        patch.setattr("sys.stderr", terminal)
        run()
    reader.join()
    os.close(master)
    return b"".join(parts).decode()
