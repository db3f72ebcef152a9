import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.disks import file_size_limit
from zsl.files.atomic import PREFIX, atomic_files, atomic_folder, atomic_path, write_atomically

BLOCKS = """
import sys
from pathlib import Path
from zsl.files.atomic import atomic_path
with atomic_path(Path(sys.argv[1])) as temporary:
    temporary.write_text("half of the sec")
    print("writing", flush=True)
    sys.stdin.read()
"""


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file.txt"
    write_atomically(path, b"first")
    with pytest.raises(KeyboardInterrupt):
        _write_half(path)
    assert path.read_text() == "first"
    assert list(path.parent.iterdir()) == [path]


def _write_half(path: Path) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("half of the sec")
        raise KeyboardInterrupt


def test_a_killed_write_leaves_the_old_file_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    path, other = tmp_path / "file.txt", tmp_path / "other.txt"
    path.write_text("first")
    killed, alive = (_begin_writing(target) for target in (path, other))
    killed.kill()
    killed.wait()
    assert path.read_text() == "first"
    assert len(list(tmp_path.glob(f"{PREFIX}*"))) == 2
    write_atomically(tmp_path / "third.txt", b"third")
    # What another process is writing is left alone.
    assert len(list(tmp_path.glob(f"{PREFIX}*"))) == 1
    alive.communicate()
    assert {one.name for one in tmp_path.iterdir()} == {"file.txt", "other.txt", "third.txt"}


def _begin_writing(path: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", BLOCKS, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"writing\n"
    return process


def test_a_full_disk_is_named_with_the_file_and_leaves_the_old_one(tmp_path: Path) -> None:
    path, folder = tmp_path / "file.txt", tmp_path / "folder"
    write_atomically(path, b"first")
    with atomic_files(folder, "record") as new:
        (new / "record").write_text("first")
    with file_size_limit(1000):
        with pytest.raises(OSError, match=f"too large: '{path}'"):
            write_atomically(path, bytes(2000))
        for replaced in (atomic_folder(folder), atomic_files(folder, "record")):
            with pytest.raises(OSError, match=f"too large: '{folder}'"), replaced as new:
                (new / "record").write_bytes(bytes(2000))
    assert path.read_bytes() == (folder / "record").read_bytes() == b"first"
    assert {one.name for one in tmp_path.rglob("*")} == {"file.txt", "folder", "record"}


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    for name in ("a", "b"):
        with atomic_folder(folder) as new:
            (new / name).write_text(name)
    assert list(tmp_path.rglob("*")) == [folder, folder / "b"]


def test_files_are_replaced_and_others_left(tmp_path: Path) -> None:
    for name in ("own", "earlier"):
        (tmp_path / name).write_text("first")
    with atomic_files(tmp_path, "record", ["earlier"]) as new:
        for name in ("record", "file"):
            (new / name).write_text("second")
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert found == {"own": "first", "record": "second", "file": "second"}
