"""Which images a folder has; `tests/commands/test_predict.py` has what is passed over."""

import random
from pathlib import Path

import pytest

from zsl.errors import InputError
from zsl.files.image_paths import ImageListing, find_images


def test_they_come_in_the_order_of_their_paths(tmp_path: Path) -> None:
    """As `sorted` has it: a folder and the files beside it that begin with its name."""
    letters = random.Random(0)
    for _ in range(200):
        depth = letters.randint(1, 4)
        parts = ["".join(letters.choices("ab-. Z", k=2)).strip(". ") or "c" for _ in range(depth)]
        folder = tmp_path.joinpath("photos", *parts[:-1])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{parts[-1]}.PNG").touch()
        (folder / f"{parts[-1]}.txt").touch()
    expected = sorted((tmp_path / "photos").rglob("*.PNG"))
    assert len(expected) > 100
    assert find_images([str(tmp_path / "photos")]) == expected
    within = [str(path) for path in (expected[7], expected[70].parent, tmp_path / "photos")]
    found = find_images([*within, *within])
    assert found[0] == expected[7]
    assert sorted(found) == expected


def test_they_are_looked_for_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In each iteration; what is passed over is told once."""
    for name in ("a.png", "b.heic", "tags.csv"):
        (tmp_path / name).touch()
    images = ImageListing([str(tmp_path)])
    assert list(images) == [tmp_path / "a.png"]
    (tmp_path / "c.png").touch()
    assert list(images) == [tmp_path / "a.png", tmp_path / "c.png"]
    (message,) = caplog.messages
    assert ": 1 .heic. Convert" in message
    (tmp_path / "a.png").unlink()
    (tmp_path / "c.png").unlink()
    with pytest.raises(InputError, match="has no images in it"):
        list(images)


def test_a_folder_that_is_not_reached_yet_is_not_read(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "a.png").touch()
    images = iter(ImageListing([str(tmp_path)]))
    assert next(images).parent.name == "0"
    (tmp_path / "2" / "b.png").touch()
    assert [path.name for path in images] == ["a.png", "a.png", "b.png"]
