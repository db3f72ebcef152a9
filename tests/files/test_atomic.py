from pathlib import Path

import pytest

from zsl.files.atomic import atomic_path, write_atomically


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
