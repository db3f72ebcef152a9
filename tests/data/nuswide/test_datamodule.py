"""The data module on miniature copies in every layout."""

import os
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.feather
import pytest

from tests.fakes.nuswide import CONCEPTS, NAMES, NUM_TEST, NUM_TRAIN, SEEN, FakeNUSWide
from zsl.data import ImageConfig, NUSWideDataModule, Split
from zsl.data.nuswide.index import NUSWideIndex
from zsl.errors import InputError
from zsl.labels import Role

QUICK: dict[str, Any] = {
    "images": ImageConfig(16),
    "batch_size": 4,
    "num_workers": 0,
    "held_out_fraction": 0.3,
    "val_fraction": 0.25,
}


def load(root: Path, **changes: Any) -> NUSWideDataModule:
    return NUSWideDataModule(str(root), **QUICK | changes)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_bytes().decode()
    assert old in text
    path.write_bytes(text.replace(old, new, 1).encode())


def check(fake_nuswide: FakeNUSWide, data: NUSWideDataModule) -> None:
    """Every image has its own pixels and its own labels, in the split it is listed in."""
    seen_rows = []
    for split in Split:
        dataset = data.dataset(split, data.evaluation_transform)
        for index, row in enumerate(dataset.rows):
            picture = np.asarray(dataset.image(index), dtype=int)
            left, right = fake_nuswide.colours[row]
            assert (
                np.abs(picture[:, :15].mean(axis=(0, 1)) - fake_nuswide.rgb(left, row)).max() < 12
            )
            assert (
                np.abs(picture[:, 25:].mean(axis=(0, 1)) - fake_nuswide.rgb(right, row)).max() < 12
            )
            expected = [int(fake_nuswide.targets[name][row]) for name in data.vocabulary.names]
            assert dataset.target(index).tolist() == expected
            assert fake_nuswide.is_test[row] == (split is Split.TEST)
        seen_rows += dataset.rows.tolist()
    assert sorted(seen_rows) == list(range(NUM_TRAIN + NUM_TEST))


@pytest.mark.parametrize("layout", ["official", "all_files", "ml_decoder", "columns", "no_split"])
def test_every_layout_gives_the_same_images_labels_and_splits(tmp_path: Path, layout: str) -> None:
    fake_nuswide = FakeNUSWide(tmp_path / "nuswide")
    if layout in ("official", "all_files"):
        fake_nuswide.write_official()
    elif layout == "ml_decoder":
        fake_nuswide.write_ml_decoder()
    else:
        fake_nuswide.write_columns(split=layout == "columns")
    if layout == "all_files":
        fake_nuswide.replace_by_all()
    if layout == "no_split":
        fake_nuswide.write_lists()
    data = load(fake_nuswide.root)
    assert sorted(data.vocabulary.names) == NAMES
    assert data.vocabulary.select(Role.UNSEEN) == CONCEPTS
    assert sorted(data.vocabulary.select(Role.SEEN, Role.HELD_OUT)) == SEEN
    assert len(data.vocabulary.select(Role.HELD_OUT)) == round(0.3 * len(SEEN))
    assert [len(data.rows[split]) for split in Split] == [18, 6, NUM_TEST]
    check(fake_nuswide, data)


def test_labels_of_the_table_are_found_to_the_images_of_the_authors(tmp_path: Path) -> None:
    fake_nuswide = FakeNUSWide(tmp_path / "nuswide").write_ml_decoder()
    for path in (fake_nuswide.root / "images").iterdir():
        path.unlink()
    fake_nuswide.write_images([f"Flickr/{name}" for name in fake_nuswide.images])
    data = load(fake_nuswide.root, missing="skip")
    # Rows 2 and 5 have one Flickr id, which the table's names alone can't tell apart.
    assert data.omitted(Split.TRAIN) + data.omitted(Split.VAL) == 2
    assert any("2 listed images count as missing" in note for note in data.index.info["notes"])
    (path,) = (fake_nuswide.root / "zsl").glob("missing-*.txt")
    lost = path.read_text().splitlines()
    assert lost == [f"images/{fake_nuswide.ml_decoder_name(row)}\tmissing" for row in (2, 5)]


def test_batches_are_dense_and_complete(fake_nuswide: FakeNUSWide) -> None:
    data = load(fake_nuswide.root, num_workers=1)
    data.setup("fit")
    batches = list(data.val_dataloader())
    assert [len(batch["index"]) for batch in batches] == [4, 2]
    assert batches[0]["image"].shape == (4, 3, 16, 16)
    assert batches[0]["target"].shape == (4, len(NAMES))
    dataset = data.val_dataset
    assert batches[1]["target"].tolist() == [dataset.target(i).tolist() for i in (4, 5)]
    assert (batches[1]["image"][0] == dataset[4]["image"]).all()


def test_a_loader_process_maps_the_index_and_copies_nothing(fake_nuswide: FakeNUSWide) -> None:
    data = load(fake_nuswide.root)
    dataset = data.dataset(Split.TRAIN, data.evaluation_transform)
    assert len(pickle.dumps(dataset.index)) < 500
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy.target(3).tolist() == dataset.target(3).tolist()
    assert isinstance(copy.index, NUSWideIndex)
    assert not dataset.index.state.flags.owndata  # The file itself.


def test_unseen_names_come_from_the_config_if_it_has_any(fake_nuswide: FakeNUSWide) -> None:
    data = load(fake_nuswide.root, unseen=["nature", "sky"])
    assert data.vocabulary.select(Role.UNSEEN) == ["nature", "sky"]
    assert "whales" in data.vocabulary.select(Role.SEEN, Role.HELD_OUT)
    with pytest.raises(InputError, match=r"'natur' is not one of the 13 labels .*'nature'"):
        load(fake_nuswide.root, unseen=["natur"])
    for unseen in ([], NAMES):
        with pytest.raises(InputError, match=r"of 13 labels of .* are unseen; set unseen"):
            load(fake_nuswide.root, unseen=unseen)


def test_draws_depend_on_the_seed_alone(fake_nuswide: FakeNUSWide) -> None:
    first, second, other = (
        load(fake_nuswide.root),
        load(fake_nuswide.root),
        load(fake_nuswide.root, split_seed=1),
    )
    assert first.vocabulary == second.vocabulary
    assert (first.rows[Split.VAL] == second.rows[Split.VAL]).all()
    assert first.fingerprint == second.fingerprint
    assert other.fingerprint != first.fingerprint
    assert (other.rows[Split.VAL] != first.rows[Split.VAL]).any()


def test_missing_images_are_an_error_or_left_out(
    fake_nuswide: FakeNUSWide, caplog: pytest.LogCaptureFixture
) -> None:
    (fake_nuswide.root / "Flickr" / fake_nuswide.images[1]).unlink()
    (fake_nuswide.root / "Flickr" / fake_nuswide.images[NUM_TRAIN + 3]).unlink()
    whole = load(fake_nuswide.root, val_fraction=0.1)
    message = (
        rf"2 of 40 listed images are missing.*{fake_nuswide.images[1]} \(missing; .*missing skip"
    )
    with pytest.raises(InputError, match=message):
        whole.setup("fit")
    with pytest.raises(InputError, match="1 of 16 listed images are missing"):
        whole.setup("test")
    with caplog.at_level("INFO", "zsl"):
        data = load(fake_nuswide.root, val_fraction=0.1, missing="skip")
    assert "Left out, since missing or unreadable: 1 train, 0 val, 1 test images." in caplog.text
    data.setup("fit")
    data.setup("test")
    assert [len(d) for d in (data.train_dataset, data.val_dataset, data.test_dataset)] == [
        21,
        2,
        15,
    ]
    assert data.omitted(Split.TEST) == 1
    assert data.vocabulary == whole.vocabulary
    for path in (fake_nuswide.root / "Flickr").rglob("*.jpg"):
        path.unlink()
    with pytest.raises(InputError, match=r"Not one of the 22 train images is in .*Flickr"):
        load(fake_nuswide.root, val_fraction=0.1, missing="skip").setup("fit")


def test_the_index_is_made_again_only_where_something_changed(fake_nuswide: FakeNUSWide) -> None:
    first = load(fake_nuswide.root)
    path = first.index.path
    made = path.stat().st_mtime_ns
    assert load(fake_nuswide.root).index.path.stat().st_mtime_ns == made

    edit(fake_nuswide.root / "Groundtruth/TrainTestLabels/Labels_sky_Test.txt", "0\n", "1\n")
    assert load(fake_nuswide.root).fingerprint != first.fingerprint
    assert path.stat().st_mtime_ns != made

    (fake_nuswide.root / "Flickr" / fake_nuswide.images[0]).unlink()
    assert (
        load(fake_nuswide.root).omitted(Split.TRAIN) + load(fake_nuswide.root).omitted(Split.VAL)
        == 1
    )
    fake_nuswide.write_images([f"Flickr/{name}" for name in fake_nuswide.images])
    assert (
        load(fake_nuswide.root).omitted(Split.TRAIN) + load(fake_nuswide.root).omitted(Split.VAL)
        == 0
    )

    path.write_bytes(path.read_bytes()[:300])  # Cut off, or another version's.
    check_again = load(fake_nuswide.root)
    assert len(check_again.index) == NUM_TRAIN + NUM_TEST
    # A copy that moved keeps its index.
    made = path.stat().st_mtime_ns
    moved = fake_nuswide.root.rename(fake_nuswide.root.parent / "moved")
    data = load(moved)
    assert data.index.path.stat().st_mtime_ns == made
    data.setup("fit")
    assert data.train_dataset[0]["image"].shape == (3, 16, 16)


def test_the_index_is_an_arrow_file_that_others_can_read(fake_nuswide: FakeNUSWide) -> None:
    data = load(fake_nuswide.root)
    table = pyarrow.feather.read_table(data.index.path).to_pandas()
    assert table["image"].tolist() == fake_nuswide.images
    row = 7
    present = {NAMES[column] for column in table["present"][row]}
    assert present == {name for name in NAMES if fake_nuswide.targets[name][row]}


def test_prepared_can_lie_elsewhere(fake_nuswide: FakeNUSWide, tmp_path: Path) -> None:
    data = load(fake_nuswide.root, prepared=str(tmp_path / "fast disk"))
    assert data.index.path.parent == tmp_path / "fast disk"
    assert not (fake_nuswide.root / "zsl").exists()
    if os.getuid():  # Nothing is read-only to root.
        fake_nuswide.root.chmod(0o555)
        with pytest.raises(InputError, match=r"can't be written; set data\.prepared"):
            load(fake_nuswide.root)


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


def test_other_mistakes_are_one_sentence(fake_nuswide: FakeNUSWide, tmp_path: Path) -> None:
    for changes, message in (
        ({"image_folder": "Flicker"}, "The image folder .*Flicker does not exist"),
        ({"table": "data.csv"}, r"The table .*data\.csv does not exist; set table"),
        ({"missing": "ignore"}, "missing is 'ignore'; expected error or skip"),
        ({"val_fraction": 1.0}, "val_fraction is 1.0; expected between 0 and 1"),
        ({"resized": 256}, r"images-256 does not hold a copy of actor/.*--resize 256"),
        (
            {"resized": 32, "images": ImageConfig(center_crop=0.9)},
            "resized is 32, whose images are squashed, but images.center_crop is 0.9",
        ),
        ({"held_out_fraction": 2.0}, "held_out_fraction is 2.0; expected between 0 and 1"),
    ):
        with pytest.raises(InputError, match=message):
            load(fake_nuswide.root, **changes)
    with pytest.raises(InputError, match=r"The data folder .*nowhere does not exist; set root"):
        load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        InputError, match="is not a complete NUS-WIDE: it lacks ImageList/TrainImage"
    ):
        load(tmp_path / "empty")


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
