"""The data module on miniature copies in every layout."""

import os
import pickle
from pathlib import Path

import numpy as np
import pyarrow.feather
import pytest

from tests.fakes.nuswide import CONCEPTS, NAMES, NUM_TEST, NUM_TRAIN, SEEN, FakeNUSWide, edit, load
from zsl.data import ImageConfig, NUSWideDataModule, Split
from zsl.data.nuswide.index import NUSWideIndex
from zsl.errors import InputError
from zsl.labels import Role


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
