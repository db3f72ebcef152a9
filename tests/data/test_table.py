from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image

from zsl.data import ImageConfig, Split, TableDataModule
from zsl.errors import InputError
from zsl.labels import Role


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_images_and_targets_come_from_the_table(table_root: Path) -> None:
    data = TableDataModule(str(table_root), images=ImageConfig(16), batch_size=4, num_workers=0)
    data.setup("fit")
    data.setup("test")
    assert [len(d) for d in (data.train_dataset, data.val_dataset, data.test_dataset)] == [
        20,
        10,
        10,
    ]
    table = pd.read_csv(table_root / "labels.csv")
    row = table[table["split"] == "test"].iloc[2]
    sample = data.test_dataset[2]
    assert sample["target"].dtype == torch.int8
    names = {data.vocabulary.names[i] for i in sample["target"].nonzero().flatten()}
    assert names == set(row["labels"].split("|"))
    with Image.open(table_root / row["image"]) as image:
        assert image.tobytes() == data.test_dataset.image(2).tobytes()
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (4, 3, 16, 16)
    assert batch["target"].shape == (4, 8)


def test_parquet_and_csv_are_the_same_data(table_root: Path) -> None:
    csv = TableDataModule(str(table_root))
    for name in ("labels", "classes"):
        pd.read_csv(table_root / f"{name}.csv").to_parquet(table_root / f"{name}.parquet")
    parquet = TableDataModule(str(table_root), "labels.parquet", "classes.parquet")
    assert parquet.fingerprint == csv.fingerprint
    edit(table_root / "labels.csv", ",train", ",val")
    assert TableDataModule(str(table_root)).fingerprint != csv.fingerprint


def test_blank_cell_is_an_image_without_labels(table_root: Path) -> None:
    first = pd.read_csv(table_root / "labels.csv")["labels"][0]
    edit(table_root / "labels.csv", first, "")
    data = TableDataModule(str(table_root))
    assert data.dataset(Split.TRAIN, data.evaluation_transform).target(0).sum() == 0


def test_training_images_without_a_seen_label_may_be_dropped(table_root: Path) -> None:
    kept = TableDataModule(str(table_root), batch_size=1, num_workers=0)
    kept.setup("fit")
    seen = set(kept.vocabulary.select(Role.SEEN))
    table = pd.read_csv(table_root / "labels.csv")
    row = table.index[table["split"] == "train"][4]
    table.loc[row, "labels"] = "|".join(kept.vocabulary.select(Role.HELD_OUT, Role.UNSEEN))
    table.to_csv(table_root / "labels.csv", index=False)
    train = table[table["split"] == "train"]["labels"]
    expected = [row for row, names in enumerate(train) if seen & set(names.split("|"))]
    assert 4 not in expected
    data = TableDataModule(str(table_root), batch_size=1, num_workers=0, unlabelled="drop")
    data.setup("fit")
    assert sorted(int(batch["index"]) for batch in data.train_dataloader()) == expected
    assert [len(d) for d in (data.train_dataset, data.val_dataset)] == [20, 10]
    assert len(kept.train_dataloader()) == 20
    with pytest.raises(InputError, match="unlabelled is 'skip'; expected keep or drop"):
        TableDataModule(str(table_root), unlabelled="skip")


def test_training_images_that_show_an_unseen_label_are_told_and_may_be_dropped(
    table_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    table = pd.read_csv(table_root / "labels.csv")
    train = table.index[table["split"] == "train"]
    for row in train[[2, 5]]:
        table.loc[row, "labels"] += "|white"
    table.to_csv(table_root / "labels.csv", index=False)
    kept = TableDataModule(str(table_root), num_workers=0)
    kept.setup("fit")
    assert "2 of 20 training images show an unseen label." in caplog.text
    assert len(kept.trained_rows) == 20
    data = TableDataModule(str(table_root), num_workers=0, with_unseen="drop")
    caplog.clear()
    data.setup("fit")
    assert "trained on without it" not in caplog.text
    assert data.trained_rows.tolist() == [row for row in range(20) if row not in (2, 5)]
    assert len(data.train_dataset) == 20
    table.loc[train, "labels"] = "red|white"
    table.to_csv(table_root / "labels.csv", index=False)
    with pytest.raises(InputError, match="All 20 training images show an unseen label"):
        TableDataModule(str(table_root), with_unseen="drop").setup("fit")
    with pytest.raises(InputError, match="with_unseen is 'no'; expected keep or drop"):
        TableDataModule(str(table_root), with_unseen="no")  # type: ignore[arg-type]


def test_seen_labels_are_held_out_where_the_class_file_holds_out_none(table_root: Path) -> None:
    path = table_root / "classes.csv"
    path.write_text(path.read_text().replace("held_out", "seen"))
    data = TableDataModule(str(table_root))
    assert len(data.vocabulary.select(Role.HELD_OUT)) == 1
    assert data.vocabulary == TableDataModule(str(table_root)).vocabulary


def test_a_relative_root_is_kept_absolute(
    table_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(table_root.parent)
    assert TableDataModule("photos").recipe["init_args"]["root"] == str(table_root)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "labels.csv",
            ",train",
            ",trian",
            r"labels\.csv, line 2: the split is 'trian'.*mean 'train'",
        ),
        ("labels.csv", "|", "||", r"labels\.csv, line 2: an empty label in"),
        (
            "labels.csv",
            "|",
            "|gren|",
            r"line 2: the label 'gren' is not in .*classes\.csv.*'green'",
        ),
        (
            "labels.csv",
            "images/1.png",
            "images/0.png",
            r"line 3: 'images/0.png' is there",
        ),
        ("labels.csv", "images/1.png", "", "line 3: the image path is empty"),
        (
            "labels.csv",
            "|",
            ",",
            r"labels\.csv, line 2 has 4 cells, but the header has 3; put quotes",
        ),
        ("labels.csv", "labels", "tags", r"no column 'labels' \(found: 'image', 'tags', 'split'\)"),
        (
            "classes.csv",
            "red,seen",
            "red,sene",
            r"classes\.csv, line 2: the label 'red' has the role",
        ),
        ("classes.csv", "red,seen", ",seen", r"classes\.csv, line 2: the label name is empty"),
        ("classes.csv", "green,seen", "red,seen", r"line 3: 'red' is there twice"),
    ],
)
def test_wrong_lines_are_named(
    table_root: Path, file: str, old: str, new: str, message: str
) -> None:
    edit(table_root / file, old, new)
    with pytest.raises(InputError, match=message):
        TableDataModule(str(table_root))


def test_all_unknown_labels_are_named_at_once(table_root: Path) -> None:
    path = table_root / "labels.csv"
    path.write_text(path.read_text().replace("red", "rot").replace("green", "grün"))
    with pytest.raises(InputError, match=r"'(rot|grün)' is not in .* with 1 more: '(rot|grün)'\.$"):
        TableDataModule(str(table_root))


def test_all_wrong_rows_are_named_at_once(table_root: Path) -> None:
    for file, old, new, message in (
        (
            "labels.csv",
            ",test",
            ",tset",
            r"line 5: .* 'tset'.*with 9 more: 'labels.csv, line 9 \(t",
        ),
        ("labels.csv", "images/39.png", "", r"line 41: the image path is empty\.$"),
        (
            "labels.csv",
            "|",
            "||",
            r"line 2: an empty label in .* So it is with 39 more: 'labels.csv",
        ),
        (
            "labels.csv",
            "|",
            ",",
            r"line 2 has 4 cells.* So it is with 39 more: 'labels.csv, line 3'",
        ),
        (
            "classes.csv",
            ",seen",
            ",sene",
            r"'red' has the role 'sene'.* 3 more: 'green \(sene\)', '",
        ),
    ):
        path = table_root / file
        whole = path.read_text()
        path.write_text(whole.replace(old, new))
        with pytest.raises(InputError, match=message):
            TableDataModule(str(table_root))
        path.write_text(whole)


def test_all_cut_off_images_are_named_before_the_training(table_root: Path) -> None:
    images = table_root / "images"
    for number, suffix in enumerate(("png", "jpg", "webp")):
        with Image.open(images / f"{number}.png") as image:
            image.resize((200, 200)).save(images / "whole", {"jpg": "jpeg"}.get(suffix, suffix))
        whole = (images / "whole").read_bytes()
        (images / f"{number}.png").write_bytes(whole[:-30])
    data = TableDataModule(str(table_root), images=ImageConfig(16))
    of_val = r"1 of 10 val images can't be read"
    with pytest.raises(InputError, match=rf"2 of 20 train images .*0.png', 'images/1.*{of_val}"):
        data.setup("fit")


def cut_off_as_tiff(path: Path) -> None:
    """Leaves a header that says nothing of the loss."""
    with Image.open(path) as image:
        image.save(path, "tiff")
    path.write_bytes(path.read_bytes()[:-1000])


@pytest.mark.parametrize("spelling", ["./images/0.png", "images//0.png", "images/../images/0.png"])
def test_an_image_is_the_same_however_its_path_is_written(table_root: Path, spelling: str) -> None:
    fingerprint = TableDataModule(str(table_root)).fingerprint
    edit(table_root / "labels.csv", "images/0.png", spelling)
    assert TableDataModule(str(table_root)).fingerprint == fingerprint
    edit(table_root / "labels.csv", "images/3.png", "images/0.png")
    with pytest.raises(InputError, match=r"line 5: 'images/0.png' is there twice, first .*line 2"):
        TableDataModule(str(table_root))


def test_labels_of_a_parquet_file_may_be_lists(table_root: Path) -> None:
    expected = TableDataModule(str(table_root)).label_lists
    table = pd.read_csv(table_root / "labels.csv")
    table["labels"] = table["labels"].str.split("|")
    table.to_parquet(table_root / "labels.parquet")
    assert TableDataModule(str(table_root), table="labels.parquet").label_lists == expected


def test_of_fixed_classes_none_is_held_out(table_root: Path) -> None:
    path = table_root / "classes.csv"
    path.write_text(path.read_text().replace("held_out", "seen").replace("unseen", "seen"))
    assert set(TableDataModule(str(table_root)).vocabulary.roles) == {Role.SEEN}


def test_missing_files_and_splits_are_named(table_root: Path) -> None:
    with pytest.raises(InputError, match=r"The data folder .*nowhere does not exist"):
        TableDataModule(str(table_root / "nowhere"))
    with pytest.raises(InputError, match=r"The file .*tags\.csv does not exist"):
        TableDataModule(str(table_root), table="tags.csv")
    path = table_root / "labels.csv"
    path.write_text(path.read_text().replace(",val", ",train"))
    with pytest.raises(InputError, match=r"no row with the split 'val' \(found: test, train\)"):
        TableDataModule(str(table_root)).setup("fit")


def test_missing_and_alien_images_are_found_before_training(table_root: Path) -> None:
    (table_root / "images" / "3.png").unlink()
    (table_root / "images" / "7.png").unlink()
    missing = r"2 of 10 test images are missing, the first in .*line 5; .*: .*3\.png', .*7\.png'"
    with pytest.raises(InputError, match=missing):
        TableDataModule(str(table_root)).setup("fit")
    TableDataModule(str(table_root)).setup("validate")
    for index in (3, 7):
        (table_root / "images" / f"{index}.png").write_text("no image")
    unreadable = r"2 of 10 test .* first in .*line 5 \(not an image\).*: .*3\.png', .*7\.png'"
    with pytest.raises(InputError, match=unreadable):
        TableDataModule(str(table_root)).setup("fit")
    (table_root / "images" / "3.png").unlink()
    (table_root / "images" / "3.png").mkdir()
    with pytest.raises(InputError, match=r"line 5 \(.*directory"):
        TableDataModule(str(table_root)).setup("test")
    (table_root / "images").rename(table_root / "pictures")
    with pytest.raises(InputError, match=r"20 of 20 train .*; the folder .*images does not exist"):
        TableDataModule(str(table_root)).setup("fit")


def test_selection_needs_images_of_held_out_labels(table_root: Path) -> None:
    path = table_root / "labels.csv"
    path.write_text(path.read_text().replace("purple", "white").replace("orange", "white"))
    with pytest.raises(InputError, match="has one of the 2 held-out labels, so no checkpoint"):
        TableDataModule(str(table_root))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_image_of_a_format_without_end_is_named_when_it_is_read(
    table_root: Path, num_workers: int
) -> None:
    path = table_root / "images" / "2.png"
    cut_off_as_tiff(path)
    data = TableDataModule(str(table_root), images=ImageConfig(16), num_workers=num_workers)
    data.setup("fit")
    with pytest.raises(InputError, match=r"The image .*2\.png can't be read"):
        list(data.val_dataloader())


@pytest.mark.parametrize(
    ("name", "counts", "splits"),
    [("fashion", (57, 6, 16), (6622, 946, 1893)), ("mosaics", (140, 20, 40), (6000, 1000, 2000))],
)
def test_real_data(
    shared: Path, name: str, counts: tuple[int, ...], splits: tuple[int, ...]
) -> None:
    data = TableDataModule(str(shared / "data" / name), images=ImageConfig(32), num_workers=0)
    assert tuple(len(data.vocabulary.select(role)) for role in Role) == counts
    data.setup("fit")
    data.setup("test")
    assert (
        tuple(len(d) for d in (data.train_dataset, data.val_dataset, data.test_dataset)) == splits
    )
    assert data.test_dataset[0]["image"].shape == (3, 32, 32)
    assert data.test_dataset[0]["target"].sum() > 0


def test_the_images_of_a_split_are_looked_at_once(
    table_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[list[Split]] = []
    monkeypatch.setattr(
        TableDataModule, "check_images", lambda self, splits: looked_at.append(splits)
    )
    data = TableDataModule(str(table_root), num_workers=0)
    for stage in ("fit", "validate", "test"):
        data.setup(stage)
    assert looked_at == [list(Split)]
