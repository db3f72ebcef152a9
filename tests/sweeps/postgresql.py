"""A PostgreSQL of a test's own, from the system's package."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PASSWORD = "open sesame"


class Server:
    """A server on a port of this machine, in a folder of its own."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder
        self.programs = programs
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def run(self, program: str, *args: str) -> None:
        """Runs one of its programs; it refuses to be run by root."""
        user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        command = [str(self.programs / program), *args]
        with (self.folder / "log.txt").open("ab") as log:
            subprocess.run(
                [*(user if os.geteuid() == 0 else []), *command],
                check=True,
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c fsync=off "
        options += f"-c unix_socket_directories={self.folder}"
        self.run("pg_ctl", "-D", "data", "-w", "-o", options, "start")

    def stop(self) -> None:
        """Stops it as a crash would: connections break."""
        self.run("pg_ctl", "-D", "data", "-w", "-m", "immediate", "stop")

    def url(self, database: str = "postgres", password: str = "open%20sesame") -> str:
        return f"postgresql://ann:{password}@127.0.0.1:{self.port}/{database}"

    @staticmethod
    def driver_url(url: str) -> str:
        """As Optuna takes it with any version of SQLAlchemy."""
        return url.replace("postgresql:", "postgresql+psycopg:")

    def create_database(self, name: str) -> str:
        """Makes a database; returns its URL."""
        import psycopg

        address = f"host=127.0.0.1 port={self.port} user=ann dbname=postgres"
        with psycopg.connect(address, password=PASSWORD, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return self.url(name)


@contextmanager
def postgresql() -> Iterator[Server]:
    """Runs a server; skips the test where there is none, or no driver."""
    pytest.importorskip("psycopg")
    found = [Path(path).parent for path in (shutil.which("initdb"),) if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    # Its user can't enter the folders of pytest, and the names of sockets must be short.
    with tempfile.TemporaryDirectory(prefix="zsl_", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o644)
        server = Server(folder, found[-1])
        server.run(
            "initdb",
            "-D",
            "data",
            "-U",
            "ann",
            "--no-sync",
            "-A",
            "scram-sha-256",
            "--pwfile=password",
        )
        server.start()
        try:
            yield server
        finally:
            server.stop()
