from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from zsl.data.nuswide.text_files import as_targets, read_image_list, read_labels, read_names
from zsl.errors import InputError

IMAGES = [f"a/{row:04d}_{1000 + row}.jpg" for row in range(20_000)]


def write(path: Path, values: np.ndarray, prefix: list[str] | None = None) -> Path:
    rows = (" ".join(map(str, row)) for row in values.tolist())
    lines = [f"{prefix[i]}\t{row}" if prefix else row for i, row in enumerate(rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_tables_are_read_as_they_are(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(-1, 2, size=(20_000, 7))
    for images, path in (
        (IMAGES, write(tmp_path / "many.dat", values)),  # More than are read at once.
        (IMAGES[:1], write(tmp_path / "one.dat", values[:1])),
    ):
        found = read_labels(path, 7, images, "a list")
        assert found.dtype == np.int8
        assert (found.toarray() == values[: len(images)]).all()
    path = tmp_path / "odd.dat"
    path.write_bytes(b" 0\t1  0 0 0 0 1 \r\n1 0 0 0 0 0 -1\r\n\r\n")
    assert read_labels(path, 7, IMAGES[:2], "a list").toarray().tolist() == [
        [0, 1, 0, 0, 0, 0, 1],
        [1, 0, 0, 0, 0, 0, -1],
    ]


def test_an_id_before_the_values_must_be_that_of_the_image(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 2, size=(9000, 3))
    ids = [str(1000 + row) for row in range(9000)]
    path = write(tmp_path / "all.txt", values, ids)
    assert (read_labels(path, 3, IMAGES[:9000], "a list").toarray() == values).all()
    ids[8500] = "5"
    path = write(tmp_path / "all.txt", values, ids)
    with pytest.raises(InputError, match=r"all\.txt, row 8501 is of the Flickr id 5, but row 8501"):
        read_labels(path, 3, IMAGES[:9000], "a list")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1 0 1\n", "1 0 -1130179\n", r"a\.dat, line 2: value 3 is '-1130179'; expected -1, 0 or"),
        ("1 0 1\n", "1 0 2\n", "line 2: value 3 is '2'"),
        ("1 0 1\n", "1 x 1\n", "line 2: value 2 is 'x'"),
        ("1 0 1\n", "1 0\n", "line 2 has 2 values; expected 3"),
        ("1 0 1\n", "1 0 1 1 1\n", "line 2 has 5 values; expected 3"),
        ("1 0 1\n", "", r"a\.dat has 2 rows; expected 3, one for each image of a list"),
        ("1 0 1\n", "1 0 1\n1 0 1\n", r"a\.dat has 4 rows; expected 3"),
        ("1 0 1\n", "99999999999999999999 0 1\n", "line 2: value 1 is '99999999999999999999'"),
    ],
)
def test_wrong_values_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "a.dat"
    path.write_text("0 0 1\n1 0 1\n0 1 0\n".replace(old, new))
    with pytest.raises(InputError, match=message):
        read_labels(path, 3, IMAGES[:3], "a list")


def test_all_lines_with_an_extra_value_are_not_taken_for_ids(tmp_path: Path) -> None:
    path = tmp_path / "a.dat"
    path.write_text("0 0 1 1\n1 0 1 1\n")
    with pytest.raises(InputError, match="row 1 is of the Flickr id 0"):
        read_labels(path, 3, IMAGES[:2], "a list")


def test_zero_means_unknown_where_annotators_said_absent() -> None:
    notes: list[str] = []
    values = csr_matrix(np.array([[1, 0, 0], [0, 1, 1]], dtype=np.int8))
    assert (as_targets(values, "a.txt", notes) != values).nnz == 0
    assert notes == []
    with_absent = csr_matrix(np.array([[1, 0, -1], [0, -1, 1]], dtype=np.int8))
    assert as_targets(with_absent, "a.txt", notes).toarray().tolist() == [[1, -1, 0], [-1, 0, 1]]
    assert notes == ["a.txt has 2 times -1 (absent), so each of its 0 counts as unknown."]


def test_lists_are_read_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbfa_b\\0001_1.jpg\r\n ./a\\0002_2.jpg \r\n\r\n")
    assert read_image_list(path) == ["a_b/0001_1.jpg", "a/0002_2.jpg"]
    for content, message in (
        (b"", "is empty"),
        (b"a\n\nb\n", "line 2 is blank"),
        (b"a\nb\na\n", "line 3: 'a' is there twice, first at .*line 1"),
        (b"a\n\xff\n", "can.t be read .line 2 is not UTF-8"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=message):
            read_names(path)


def test_the_real_lists(shared: Path) -> None:
    folder = shared / "data" / "nuswide"
    tags = read_names(folder / "TagList1k.txt")
    concepts = read_names(folder / "Concepts81.txt")
    assert (len(tags), len(concepts)) == (1000, 81)
    assert len(set(tags) - set(concepts)) == 925
    assert set(concepts) - set(tags) == {"computer", "fire", "map", "swimmers", "tattoo", "whales"}
    images = read_image_list(folder / "TestImagelist.txt")
    assert len(images) == 107_859
    assert sum("_" in name.split("/")[0] for name in images) > 1000
