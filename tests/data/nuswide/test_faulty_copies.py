"""Copies of NUS-WIDE in which something is missing, wrong or ambiguous."""

import random
from pathlib import Path

import numpy as np
import pytest

from tests.fakes.nuswide import CONCEPTS, NAMES, FakeNUSWide, edit, load
from zsl.data import Split
from zsl.errors import InputError
from zsl.labels import Role


@pytest.mark.parametrize("present", [1, 2, 3])
def test_whichever_label_files_are_there_are_enough(
    fake_nuswide: FakeNUSWide, present: int
) -> None:
    """Without the ground truth of training images, and with tags for that of test images."""
    truth = fake_nuswide.root / "Groundtruth/TrainTestLabels"
    for path in truth.glob("*_Train.txt"):
        path.unlink()
    rows = np.flatnonzero(fake_nuswide.is_test)
    if present > 1:
        for path in truth.glob("*_Test.txt"):
            path.unlink()
        tagged = [
            " ".join(str(int(fake_nuswide.tagged[name][row])) for name in CONCEPTS) for row in rows
        ]
        fake_nuswide.write_text("NUS_WID_Tags/Test_Tags81.txt", tagged)
    if present > 2:
        rows = np.flatnonzero(~fake_nuswide.is_test)
        tagged = [
            " ".join(str(int(fake_nuswide.tagged[name][row])) for name in CONCEPTS) for row in rows
        ]
        fake_nuswide.write_text("NUS_WID_Tags/Train_Tags81.txt", tagged)
    data = load(fake_nuswide.root)
    test = data.dataset(Split.TEST, data.evaluation_transform)
    source = fake_nuswide.targets if present == 1 else fake_nuswide.tagged
    whales = data.vocabulary.indices(["whales"])[0]
    values = [int(test.target(index)[whales]) for index in range(len(test))]
    assert values == source["whales"][fake_nuswide.is_test].astype(int).tolist()
    train = data.dataset(Split.TRAIN, data.evaluation_transform)
    notes = " ".join(data.index.info["notes"])
    if present < 3:
        assert "concepts of the train images are unknown" in notes
        assert {int(train.target(index)[whales]) for index in range(len(train))} == {-1}
        with pytest.raises(InputError, match="label 'clouds' is seen, but of no training image"):
            load(fake_nuswide.root, unseen=["sky"])
    assert ("concepts of the test images are Flickr tags (Test_Tags81.txt)" in notes) == (
        present > 1
    )


@pytest.mark.parametrize(
    ("remove", "message"),
    [
        ("ImageList/TrainImagelist.txt", r"lacks ImageList/TrainImagelist\.txt; docs/nuswide\.md"),
        ("ConceptsList/Concepts81.txt", r"lacks ConceptsList/Concepts81\.txt, Groundtruth"),
        ("NUS_WID_Tags/Test_Tags1k.dat", r"lacks NUS_WID_Tags/Test_Tags1k\.dat;"),
        (
            "Groundtruth/TrainTestLabels/Labels_sky_Test.txt",
            r"lacks Groundtruth/TrainTestLabels/Labels_\*_Test\.txt",
        ),
    ],
)
def test_what_is_missing_is_named(fake_nuswide: FakeNUSWide, remove: str, message: str) -> None:
    (fake_nuswide.root / remove).unlink()
    with pytest.raises(InputError, match=f"is not a complete NUS-WIDE: it {message}"):
        load(fake_nuswide.root)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "Groundtruth/TrainTestLabels/Labels_sky_Test.txt",
            "0\n",
            "-1130179\n",
            r"Labels_sky_Test\.txt, line \d+: value 1 is '-1130179'; expected -1, 0 or 1",
        ),
        (
            "Groundtruth/TrainTestLabels/Labels_sky_Train.txt",
            "0\n",
            "",
            r"Labels_sky_Train\.txt has 23 rows; expected 24, one for each image of ImageList",
        ),
        ("NUS_WID_Tags/Train_Tags1k.dat", "0 ", "", r"Train_Tags1k\.dat, line 1 has 11 values"),
        ("ConceptsList/Concepts81.txt", "sky", "clouds", "line 2: 'clouds' is there twice"),
    ],
)
def test_wrong_files_are_named(
    fake_nuswide: FakeNUSWide, file: str, old: str, new: str, message: str
) -> None:
    edit(fake_nuswide.root / file, old, new)
    with pytest.raises(InputError, match=message):
        load(fake_nuswide.root)


def test_an_image_in_both_lists_is_refused(fake_nuswide: FakeNUSWide) -> None:
    path = fake_nuswide.root / "ImageList/TestImagelist.txt"
    path.write_text(path.read_text() + fake_nuswide.images[0].replace("/", "\\") + "\n")
    message = (
        r"TestImagelist\.txt, line 17: .* is there twice, first at .*TrainImagelist\.txt, line 1"
    )
    with pytest.raises(InputError, match=message):
        load(fake_nuswide.root)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",train", ",trian", r"data\.csv, line 2: the split is 'trian'.*'train'"),
        ("images/80001", "images/80000", None),
        ("images/80001_174174117_a0e2700001_m", "images/80000_174174086_a0e2700000_m", "twice"),
        ('01_m.jpg,"[', "01_m.jpg,[", r"data\.csv can't be read as a CSV: "),
        ('01_m.jpg,"[', '01_m.jpg,"', r"data\.csv, line 3: the labels are .*; expected \[a, b\]"),
    ],
)
def test_wrong_rows_of_ml_decoders_table_are_named(
    tmp_path: Path, old: str, new: str, message: str | None
) -> None:
    fake_nuswide = FakeNUSWide(tmp_path / "nuswide").write_ml_decoder()
    edit(fake_nuswide.root / "data.csv", old, new)
    if message:
        with pytest.raises(InputError, match=message):
            load(fake_nuswide.root)
    else:
        load(fake_nuswide.root).setup("fit")  # The Flickr id tells which image it is.


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",train,", ",train,7", r"nus_wide\.csv, line 2: the value of 'yellow' is '7[01]'"),
        (",train,", ",train,x", "line 2: the value of 'yellow' is 'x[01]'; expected -1, 0 or 1"),
        ("yellow", "sky", r"nus_wide\.csv, column \d+: 'sky' is there twice"),
        ("image_id", "picture", "begins with the columns picture, split"),
        (",split", ",part", "does not say which images are for the test"),
        (
            "water",
            "Water",
            r"'water' of the published unseen labels are not labels of the.*'Water'",
        ),
        (",train,", ",train,1,", r"nus_wide\.csv can't be read as a CSV: "),
        ("actor_0002_174174086.jpg,", ",", r"nus_wide\.csv, line 2: the image is not named"),
    ],
)
def test_wrong_cells_of_the_concept_columns_are_named(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    fake_nuswide = FakeNUSWide(tmp_path / "nuswide").write_columns()
    edit(fake_nuswide.root / "nus_wide.csv", old, new)
    with pytest.raises(InputError, match=message):
        load(fake_nuswide.root)


def test_rows_of_no_official_image_are_counted_and_listed(tmp_path: Path) -> None:
    fake_nuswide = FakeNUSWide(tmp_path / "nuswide").write_columns(split=False)
    fake_nuswide.write_lists()
    edit(
        fake_nuswide.root / "ImageList/TestImagelist.txt",
        fake_nuswide.images[-1].replace("/", "\\"),
        "zoo\\x.jpg",
    )
    data = load(fake_nuswide.root)
    assert len(data.index) == 39
    name = fake_nuswide.images[-1].replace("/", "_")
    note = "1 of 40 rows of nus_wide.csv are of images that no official list has and are left out"
    assert f"{note}, the first is {name}." in data.index.info["notes"]
    (path,) = (fake_nuswide.root / "zsl").glob("missing-*.txt")
    assert path.read_text() == f"{name}\tin no official list\n"


def test_annotators_zero_is_unknown(fake_nuswide: FakeNUSWide) -> None:
    """In a copy with -1, 0 and 1 a 0 is nothing that anybody checked."""
    random.seed(0)
    for path in (fake_nuswide.root / "Groundtruth/TrainTestLabels").glob("*_Test.txt"):
        lines = path.read_text().split()
        path.write_text(
            "\n".join("-1" if line == "0" and i % 2 else line for i, line in enumerate(lines))
        )
    data = load(fake_nuswide.root)
    test = data.dataset(Split.TEST, data.evaluation_transform)
    sky = data.vocabulary.indices(["sky"])[0]
    rows = np.flatnonzero(fake_nuswide.is_test)
    for index, row in enumerate(rows):
        expected = 1 if fake_nuswide.targets["sky"][row] else 0 if index % 2 else -1
        assert test.target(index)[sky] == expected


def test_every_row_of_a_table_too_long_is_refused(tmp_path: Path) -> None:
    """pandas would cut the ends off, and shift all labels."""
    fake_nuswide = FakeNUSWide(tmp_path / "nuswide").write_columns()
    path = fake_nuswide.root / "nus_wide.csv"
    path.write_text(path.read_text().replace(",train,", ",train,1,").replace(",test,", ",test,1,"))
    with pytest.raises(InputError, match=r"nus_wide\.csv can't be read as a CSV: "):
        load(fake_nuswide.root)


def test_an_unseen_label_of_no_image_is_noted(tmp_path: Path) -> None:
    fake_nuswide = FakeNUSWide(tmp_path / "nuswide").write_ml_decoder()
    path = fake_nuswide.root / "data.csv"
    path.write_text(path.read_text().replace("water", "Water"))
    data = load(fake_nuswide.root)
    assert "1 unseen labels have no image: water." in data.index.info["notes"]
    assert "water" in data.vocabulary.select(Role.UNSEEN)


def test_one_image_under_two_names_is_used_once(tmp_path: Path) -> None:
    fake_nuswide = FakeNUSWide(tmp_path / "nuswide").write_columns()
    path = fake_nuswide.root / "nus_wide.csv"
    line = path.read_text().splitlines()[1]
    path.write_text(path.read_text() + line.replace("actor_", "actor/") + "\n")
    data = load(fake_nuswide.root, missing="skip")
    assert sum(data.omitted(split) for split in Split) == 1
    used = [
        name for split in Split for name in data.index.images.take(data._usable(split)).to_pylist()
    ]
    assert len(used) == len(set(used)) == 40


def test_a_stray_value_changes_its_own_file_alone(fake_nuswide: FakeNUSWide) -> None:
    edit(fake_nuswide.root / "Groundtruth/TrainTestLabels/Labels_sky_Test.txt", "0\n", "-1\n")
    data = load(fake_nuswide.root)
    unknown = data.index.unknown.sum(axis=0).A1
    assert [name for name, count in zip(NAMES, unknown, strict=True) if count] == ["sky"]
    note = "Labels_sky_Test.txt has 1 times -1 (absent), so each of its 0 counts as unknown."
    assert note in data.index.info["notes"]


def test_a_link_to_nowhere_is_a_missing_image(fake_nuswide: FakeNUSWide) -> None:
    path = fake_nuswide.root / "Flickr" / fake_nuswide.images[0]
    path.unlink()
    path.symlink_to("/nowhere.jpg")
    data = load(fake_nuswide.root)
    assert data.omitted(Split.TRAIN) + data.omitted(Split.VAL) == 1
