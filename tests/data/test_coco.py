"""MS-COCO in its native layout, a miniature of it and real images."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.datasets import CocoDetection

from tests.fakes.coco import write_coco
from zsl.data import COCODataModule, ImageConfig, Split
from zsl.data.coco_classes import CLASSES, UNSEEN, USED
from zsl.errors import InputError
from zsl.labels import Role


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_coco(tmp_path / "coco")


def coco(root: Path, **settings: Any) -> COCODataModule:
    defaults: dict[str, Any] = {"images": ImageConfig(16), "num_workers": 0, "batch_size": 4}
    return COCODataModule(str(root), **(defaults | settings))


def targets_by_name(data: COCODataModule, *splits: Split) -> dict[str, set[str]]:
    """The labels of each image."""
    names = data.vocabulary.names
    found = {}
    for split in splits:
        dataset = data.dataset(split, data.evaluation_transform)
        for row in range(len(dataset)):
            labels = dataset.target(row).nonzero().flatten().tolist()
            found[dataset.path(row).name] = {names[label] for label in labels}
    return found


def as_torchvision(root: Path, part: str, year: int) -> dict[str, set[str]]:
    """The labels of each image, as pycocotools and torchvision have them."""
    path = root / "annotations" / f"instances_{part}{year}.json"
    images = CocoDetection(str(root / f"{part}{year}"), str(path))
    found = {}
    for number, (_, objects) in zip(images.ids, images, strict=True):
        name = images.coco.imgs[number]["file_name"]
        found[name] = {images.coco.cats[entry["category_id"]]["name"] for entry in objects}
    return found


@pytest.mark.parametrize("year", [2014, 2017])
def test_images_and_targets_are_those_of_torchvision(tmp_path: Path, year: int) -> None:
    root = write_coco(tmp_path, year)
    data = coco(root, year=year, unannotated="keep")
    assert data.vocabulary.names == CLASSES
    assert set(data.vocabulary.roles) == {Role.SEEN}
    for part, splits in (("train", (Split.TRAIN, Split.VAL)), ("val", (Split.TEST,))):
        expected = as_torchvision(root, part, year)
        assert targets_by_name(data, *splits) == expected
        assert set() in expected.values()
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (4, 3, 16, 16)
    assert batch["target"].shape == (4, 80)
    assert batch["target"].dtype == torch.int8


def test_images_without_annotation_are_dropped_unless_they_are_kept(root: Path) -> None:
    counts = {}
    for unannotated in ("drop", "keep"):
        data = coco(root, unannotated=unannotated)
        counts[unannotated] = [len(data.parts[split].paths) for split in Split]
        assert all(targets_by_name(data, *Split).values()) == (unannotated == "drop")
    assert counts == {"drop": [56, 3, 29], "keep": [57, 3, 30]}


def test_the_validation_images_are_drawn_from_the_training_images(root: Path) -> None:
    data = coco(root, val_fraction=0.25)
    files = {split: {path.name for path in data.parts[split].paths} for split in Split}
    assert len(files[Split.VAL]) == 15
    assert not files[Split.TRAIN] & files[Split.VAL]
    assert {path.parent.name for path in data.parts[Split.VAL].paths} == {"train2014"}
    assert {path.parent.name for path in data.parts[Split.TEST].paths} == {"val2014"}
    assert coco(root, val_fraction=0.25).fingerprint == data.fingerprint
    assert coco(root, val_fraction=0.25, held_out_seed=1).fingerprint != data.fingerprint


# Positions among the 80: of SDL's cls_ids.pickle and of a public implementation of 65/15.
SEEN_48 = {
    *(0, 1, 2, 3, 6, 7, 8, 13, 14, 17, 18, 21, 22, 23, 24, 26, 28, 29, 30, 33, 37, 39, 42, 44),
    *(45, 46, 47, 48, 49, 50, 51, 53, 54, 56, 59, 61, 62, 63, 64, 65, 68, 69, 70, 72, 73, 74),
    *(75, 79),
}
UNSEEN_17 = {4, 5, 15, 16, 19, 20, 25, 27, 31, 36, 41, 43, 55, 57, 66, 71, 76}
UNSEEN_15 = {4, 6, 12, 15, 21, 28, 29, 31, 42, 48, 52, 61, 64, 70, 78}


@pytest.mark.parametrize(
    ("split", "seen", "unseen"),
    [("48_17", SEEN_48, UNSEEN_17), ("65_15", set(range(80)) - UNSEEN_15, UNSEEN_15)],
)
def test_the_zero_shot_splits_are_the_published_ones(
    root: Path, split: Any, seen: set[int], unseen: set[int]
) -> None:
    data = coco(root, zero_shot=split, val_fraction=0.4)
    roles = data.vocabulary.select
    assert {CLASSES.index(name) for name in roles(Role.UNSEEN)} == unseen
    assert {CLASSES.index(name) for name in roles(Role.SEEN, Role.HELD_OUT)} == seen
    assert len(roles(Role.HELD_OUT)) == round(0.1 * len(seen))
    expected = as_torchvision(root, "val", 2014)
    expected = {name: labels & set(USED[split]) for name, labels in expected.items()}
    assert targets_by_name(data, Split.TEST) == {k: v for k, v in expected.items() if v}
    in_val = set().union(*targets_by_name(data, Split.VAL).values())
    assert in_val >= set(roles(Role.HELD_OUT))


def test_training_images_that_show_an_unseen_class_may_be_dropped(root: Path) -> None:
    kept, dropped = (
        targets_by_name(
            coco(root, zero_shot="48_17", val_fraction=0.4, with_unseen=what),
            Split.TRAIN,
            Split.VAL,
        )
        for what in ("keep", "drop")
    )
    unseen = set(UNSEEN["48_17"])
    assert dropped == {name: labels for name, labels in kept.items() if not labels & unseen}
    assert len(dropped) < len(kept)


def test_a_published_list_selects_the_test_images(root: Path, tmp_path: Path) -> None:
    every = sorted((root / "val2014").iterdir())
    entries = [[f"/somewhere/else/{path.name}", ["cat"]] for path in every[3:9]]
    path = tmp_path / "test_65_filtered.json"
    path.write_text(json.dumps({"images": entries, "classes": []}))
    data = coco(root, test_list=str(path), unannotated="keep")
    assert data.parts[Split.TEST].paths == every[3:9]
    path.write_text(json.dumps({"images": [*entries, ["000000000139.jpg", []]]}))
    with pytest.raises(InputError, match=r"names 1 images that are not val images .*139.jpg'; set"):
        coco(root, test_list=str(path))
    wrongs: list[Any] = [[], {"images": [1]}, {"classes": []}]
    for wrong in wrongs:
        path.write_text(json.dumps(wrong))
        with pytest.raises(InputError, match=r"(holds no JSON object|is not a list of images)"):
            coco(root, test_list=str(path))
    with pytest.raises(InputError, match=r"The test_list .*gone.json does not exist"):
        coco(root, test_list=str(tmp_path / "gone.json"))


def change(root: Path, **parts: Any) -> None:
    """Changes parts of the training annotations."""
    path = root / "annotations" / "instances_train2014.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | parts))


def test_files_of_another_year_are_refused(root: Path) -> None:
    missing = r"train2017.json does not exist \(found there: 'instances_train2014.json'.*; set year"
    with pytest.raises(InputError, match=missing):
        coco(root, year=2017)
    change(root, info={"year": 2017})
    with pytest.raises(InputError, match=r"train2014.json is of the year 2017; expected 2014"):
        coco(root)


def test_other_categories_are_refused(root: Path) -> None:
    own = [{"id": 1, "name": "person"}, {"id": 2, "name": "unicorn"}]
    change(root, categories=own)
    with pytest.raises(InputError, match=r"2 categories.*not COCO's: 'unicorn'; absent: 'bicycle'"):
        coco(root)


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ({"image_id": 5000, "category_id": 1}, "annotation 1 is of the image 5000, which"),
        ({"image_id": 1, "category_id": 12}, "annotation 1 is of the category 12, which"),
        ({"image_id": 1}, r"doesn't hold COCO's instances \(KeyError: 'category_id'\)"),
        ("person", r"doesn't hold COCO's instances \(TypeError"),
    ],
)
def test_wrong_annotations_are_named(root: Path, annotation: Any, message: str) -> None:
    change(root, annotations=[annotation], images=[{"id": 1, "file_name": "1.jpg"}])
    with pytest.raises(InputError, match=rf"instances_train2014.json:? {message}"):
        coco(root)


def test_an_image_that_is_listed_twice_is_named(root: Path) -> None:
    change(root, images=[{"id": 1, "file_name": "1.jpg"}, {"id": 1, "file_name": "2.jpg"}])
    with pytest.raises(InputError, match=r"train2014.json, image 2: '1' is there twice"):
        coco(root)


@pytest.mark.parametrize("damage", [b'{"images": [', b"\xff\xfe\x00", b"[]", b"[" * 100_000])
def test_damaged_files_are_refused(root: Path, damage: bytes) -> None:
    path = root / "annotations" / "instances_val2014.json"
    path.write_bytes(damage)
    with pytest.raises(InputError, match=r"val2014.json (can't be read|holds no JSON).*zip"):
        coco(root)


def test_missing_and_damaged_images_are_found_before_training(root: Path) -> None:
    data = coco(root)
    lost, damaged = data.parts[Split.TRAIN].paths[3], data.parts[Split.TEST].paths[0]
    lost.unlink()
    with pytest.raises(
        InputError, match=rf"1 of 56 train images can.t be read.*{lost.name} .it does not exist"
    ):
        data.setup("fit")
    damaged.write_bytes(damaged.read_bytes()[:-200])
    with pytest.raises(InputError, match=rf"1 of 29 test images can't be read.*{damaged.name}"):
        data.setup("test")


def test_labels_without_an_image_are_reported(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", logger="zsl"):
        coco(root, zero_shot="65_15", val_fraction=0.4)
    assert "13 of 15 unseen labels are in no test image: 'train', 'parking meter'" in caplog.text
    path = root / "annotations" / "instances_val2014.json"
    content = json.loads(path.read_text())
    for annotation in content["annotations"]:
        annotation["category_id"] = 1
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="15 of 15 unseen labels are in no test image of"):
        coco(root, zero_shot="65_15", val_fraction=0.4)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("year", 2015), ("zero_shot", "60_20"), ("unannotated", "skip"), ("with_unseen", "skip")],
)
def test_settings_out_of_range_are_refused(root: Path, setting: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{setting} is '?{value}'?; expected"):
        coco(root, **{setting: value})


def test_real_images(shared: Path) -> None:
    root = shared / "data" / "coco_mini"
    data = coco(root, year=2017, unannotated="keep", val_fraction=0.2)
    data.setup("fit")
    data.setup("test")
    assert [len(data.parts[split].paths) for split in Split] == [64, 16, 79]
    for part, splits in (("train", (Split.TRAIN, Split.VAL)), ("val", (Split.TEST,))):
        assert targets_by_name(data, *splits) == as_torchvision(root, part, 2017)
    assert data.test_dataset[0]["image"].shape == (3, 16, 16)
    zero_shot = coco(root, year=2017, zero_shot="48_17", val_fraction=0.2)
    assert [len(zero_shot.vocabulary.select(role)) for role in Role] == [43, 5, 17]
