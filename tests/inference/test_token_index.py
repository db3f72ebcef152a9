"""The tokens of image files in a folder: whole whenever a process ends, and each file once."""

from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.fakes.disks import file_size_limit
from zsl.errors import InputError
from zsl.inference import token_index
from zsl.inference.token_index import ImageFile, TokenIndex

BACKBONE = {"backbone": "test", "stride": 16, "weights": "1f"}


def files(*numbers: int, size: int = 1) -> list[ImageFile]:
    return [ImageFile(f"/{number}.png", size, 7) for number in numbers]


def tokens(*numbers: int) -> dict[str, Tensor]:
    """Tokens (B, 2, 3), and something beside them, that tell of which image they are."""
    own = torch.tensor(numbers, dtype=torch.float32)
    return {"tokens": own[:, None, None].expand(-1, 2, 3), "half": own / 2}


def joined(stored: Iterable[dict[str, Tensor]]) -> Tensor:
    """The tokens of all; what is beside them is of the same images."""
    batches = list(stored)
    rows = torch.cat([batch["tokens"] for batch in batches])
    assert torch.equal(torch.cat([batch["half"] for batch in batches]), rows[:, 0, 0] / 2)
    return rows


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TokenIndex:
    """Eight images in parts of three."""
    monkeypatch.setattr(token_index, "_IMAGES_OF_PART", 3)
    index = TokenIndex.create(tmp_path / "index", BACKBONE)
    with index.adding() as add:
        for number in range(8):
            add(tokens(number), files(number))
    return index


def contents(folder: Path) -> dict[str, float]:
    """What an index holds, read anew: which image is where, by its tokens."""
    paths, stored = TokenIndex(folder).select(lambda _: True)
    rows = joined(stored.split(14))
    assert rows.dtype == torch.float16
    assert rows.shape == (len(paths), 2, 3)
    assert len(set(paths)) == len(paths) == len(stored)
    for number, row in enumerate(rows):
        assert torch.equal(stored[number]["tokens"], row)
    return dict(zip(paths, rows[:, 0, 0].tolist(), strict=True))


def test_few_are_read_at_once(index: TokenIndex) -> None:
    """Seven values an image: six of its tokens, one beside them."""
    _, stored = index.select(lambda _: True)
    for num_values, sizes in ((20, [2, 1, 2, 1, 2]), (21, [3, 3, 2]), (1, [1] * 8)):
        assert [len(rows["half"]) for rows in stored.split(num_values)] == sizes


def expected(*numbers: int) -> dict[str, float]:
    return {f"/{number}.png": float(number) for number in numbers}


def parts(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.safetensors"))


def test_parts_are_filled_and_the_last_one_grows(index: TokenIndex) -> None:
    assert contents(index.folder) == expected(*range(8))
    assert parts(index.folder) == [f"0000{number}.safetensors" for number in range(3)]
    with index.adding() as add:
        add(tokens(8, 9), files(8, 9))
    assert contents(index.folder) == expected(*range(10))
    assert len(parts(index.folder)) == 3
    with index.adding() as add:
        add(tokens(10), files(10))
    assert contents(index.folder) == expected(*range(11))
    assert len(parts(index.folder)) == 4


def test_a_part_has_few_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_index, "_BYTES_OF_PART", 40)  # Of three images 42.
    index = TokenIndex.create(tmp_path / "index", BACKBONE)
    with index.adding() as add:
        for number in range(4):
            add(tokens(number), files(number))
    assert contents(index.folder) == expected(*range(4))
    assert len(parts(index.folder)) == 2


def test_some_are_selected_in_the_order_of_the_index(index: TokenIndex) -> None:
    wanted = {"/7.png", "/1.png", "/2.png"}
    paths, stored = index.select(lambda file: file.path in wanted)
    assert paths == ["/1.png", "/2.png", "/7.png"]
    assert torch.equal(joined(stored.split(64)).float(), tokens(1, 2, 7)["tokens"])
    assert float(stored[2]["half"]) == 3.5


def test_a_part_is_emptied_thinned_or_left(index: TokenIndex) -> None:
    untouched = (index.folder / "00000.safetensors").stat().st_mtime_ns
    gone = [*files(3, 4, 5), *files(7), *files(0, size=2)]
    assert index.drop(lambda file: file in gone) == [*files(3, 4, 5), *files(7)]
    assert contents(index.folder) == expected(0, 1, 2, 6)
    assert parts(index.folder) == ["00000.safetensors", "00002.safetensors"]
    assert (index.folder / "00000.safetensors").stat().st_mtime_ns == untouched
    with index.adding() as add:
        for number in (7, 8, 9):
            add(tokens(number), files(number))
    assert contents(index.folder) == expected(0, 1, 2, 6, 7, 8, 9)
    assert len(index.drop(lambda _: True)) == 7
    assert contents_of_none(index.folder)


def contents_of_none(folder: Path) -> bool:
    return TokenIndex(folder).files == [] and parts(folder) == []


@pytest.mark.parametrize("stop", range(1, 8))
def test_what_was_added_is_kept_when_it_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    monkeypatch.setattr(token_index, "_IMAGES_OF_PART", 3)
    index = TokenIndex.create(tmp_path / "index", BACKBONE)

    def add_until_stopped() -> None:
        with index.adding() as add:
            for number in range(stop):
                add(tokens(number), files(number))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add_until_stopped()
    assert contents(index.folder) == expected(*range(stop))


def test_a_process_killed_on_the_spot_loses_half_a_minute(
    index: TokenIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("zsl.inference.token_index.time.monotonic", lambda: now[0])
    with index.adding() as add:
        add(tokens(8), files(8))
        assert contents(index.folder) == expected(*range(9))  # That part was full.
        add(tokens(9), files(9))
        assert contents(index.folder) == expected(*range(9))
        now[0] += 31
        add(tokens(10), files(10))
        assert contents(index.folder) == expected(*range(11))


def test_a_full_disk_leaves_what_was_there(index: TokenIndex) -> None:
    before = contents(index.folder)
    with pytest.raises(OSError, match="too large"), file_size_limit(50), index.adding() as add:
        add(tokens(8), files(8))
    assert contents(index.folder) == before
    with pytest.raises(OSError, match="too large"), file_size_limit(50):
        index.drop(lambda file: file.path == "/4.png")
    assert contents(index.folder) == before
    assert sorted(path.name for path in index.folder.glob(".partial*")) == []


def test_mistakes_are_one_sentence(index: TokenIndex, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="all finite numbers in float16"), index.adding() as add:
        add({"tokens": tokens(8)["tokens"] * 1e6, "half": torch.ones(1)}, files(8))
    assert contents(index.folder) == expected(*range(8))
    with pytest.raises(InputError, match="made with stride 16, but the tagger has stride 8;"):
        index.check(BACKBONE | {"stride": 8, "weights": "2e"})
    with pytest.raises(InputError, match="made with weights 1f, but the tagger has weights 2e;"):
        index.check(BACKBONE | {"weights": "2e"})
    other = TokenIndex(index.folder).locked()
    with index.locked(), pytest.raises(InputError, match="changed by another process"), other:
        pass
    with pytest.raises(InputError, match="thesis does not exist; name images"):
        TokenIndex(tmp_path / "thesis")
    (tmp_path / "thesis").mkdir()
    with pytest.raises(InputError, match="thesis holds no index of images"):
        TokenIndex(tmp_path / "thesis")
    TokenIndex.create(tmp_path / "thesis", BACKBONE)  # It was empty.
    (tmp_path / "notes.txt").touch()
    for used in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(InputError, match="exists and is not an index of images"):
            TokenIndex.create(used, BACKBONE)
    part = index.folder / "00001.safetensors"
    for damage in (part.read_bytes()[:-1], part.read_bytes()[:20], b""):
        part.write_bytes(damage)
        with pytest.raises(InputError, match=r"00001.safetensors can't be read .*; delete it"):
            TokenIndex(index.folder)
    (index.folder / "index.json").write_text("{")
    with pytest.raises(InputError, match=r"index\.json is damaged"):
        TokenIndex(index.folder)


def test_a_change_by_another_process_is_noticed(index: TokenIndex) -> None:
    _, stored = index.select(lambda _: True)
    other = TokenIndex(index.folder)
    with other.adding() as add:  # The last part grows: no harm.
        add(tokens(8), files(8))
    assert torch.equal(joined(stored.split(21)).float(), tokens(*range(8))["tokens"])
    other.drop(lambda file: file.path == "/1.png")
    with pytest.raises(InputError, match="changed by another process; open the index once more"):
        list(stored.split(21))
    with index.locked():
        assert index.files == other.files
