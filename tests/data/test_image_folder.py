import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from tests.fakes.image_folder import write_image_folder
from zsl.data import ImageConfig, ImageFolderDataModule, Split
from zsl.errors import InputError


def made(root: Path, **changes: Any) -> ImageFolderDataModule:
    return ImageFolderDataModule(str(root), images=ImageConfig(24), num_workers=0, **changes)


def files(data: ImageFolderDataModule, split: Split) -> list[Path]:
    images = data.dataset(split, data.evaluation_transform)
    return [images.path(index) for index in range(len(images))]


def test_images_and_classes_are_those_of_torchvision(tmp_path: Path) -> None:
    data = made(write_image_folder(tmp_path))
    assert data.vocabulary.names == ["cat", "dog", "owl"]
    for split, count in ((Split.TRAIN, 24), (Split.VAL, 9), (Split.TEST, 12)):
        images, expected = (
            data.dataset(split, data.evaluation_transform),
            ImageFolder(tmp_path / split),
        )
        assert len(images) == len(expected) == count
        for index, (path, column) in enumerate(expected.samples):
            assert images.path(index) == Path(path)
            assert images.target(index).tolist() == [int(column == other) for other in range(3)]


@pytest.mark.parametrize("official", ["val", "test"])
def test_without_validation_images_some_of_the_training_are_kept(
    tmp_path: Path, official: str
) -> None:
    """Beside a folder val alone, too: that is the test split."""
    write_image_folder(tmp_path, counts={"train": 20, official: 3})
    data = made(tmp_path, val_fraction=0.2)
    train, val, test = (files(data, split) for split in Split)
    assert {path.parent.parent.name for path in test} == {official}
    assert len(val) == 12
    assert sorted(train + val) == sorted((tmp_path / "train").rglob("*.png"))
    assert files(made(tmp_path, val_fraction=0.2), Split.VAL) == val
    assert files(made(tmp_path, val_fraction=0.2, split_seed=1), Split.VAL) != val


def test_the_fingerprint_tells_other_data_apart(tmp_path: Path) -> None:
    write_image_folder(tmp_path, counts={"train": 20, "val": 3})
    prints = {made(tmp_path).fingerprint, made(tmp_path, split_seed=1).fingerprint}
    (tmp_path / "val" / "cat" / "val_0.png").rename(tmp_path / "val" / "dog" / "val_9.png")
    prints.add(made(tmp_path).fingerprint)
    assert len(prints) == 3
    assert made(tmp_path).fingerprint in prints


def test_real_images(shared: Path) -> None:
    data = made(shared / "data" / "cifar10")
    data.setup("fit")
    assert [len(files(data, split)) for split in Split] == [4000, 1000, 2000]
    assert len(data.vocabulary) == 10
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (64, 3, 24, 24)
    assert batch["target"].sum(dim=1).tolist() == [1] * 64
    images = data.dataset(Split.TEST, data.evaluation_transform)
    for index in range(0, 2000, 100):
        name = data.vocabulary.names[int(images.target(index).argmax())]
        assert images.path(index).parent.name == name


def no_test(root: Path) -> None:
    shutil.rmtree(root / "val")
    shutil.rmtree(root / "test")


def one_image(root: Path) -> None:
    for path in sorted((root / "train" / "dog").iterdir())[1:]:
        path.unlink()


def no_image(root: Path) -> None:
    shutil.rmtree(root / "train" / "dog")
    (root / "train" / "dog").mkdir()
    (root / "train" / "dog" / "notes.txt").write_text("none yet")


def another_class(root: Path) -> None:
    shutil.copytree(root / "val" / "dog", root / "val" / "dogs")


def flat(root: Path) -> None:
    shutil.rmtree(root / "train")
    (root / "train").mkdir()
    Image.new("RGB", (9, 9)).save(root / "train" / "1.png")


def one_class(root: Path) -> None:
    for split in Split:
        for name in ("dog", "owl"):
            shutil.rmtree(root / split / name)


def empty_test(root: Path) -> None:
    for path in (root / "test").rglob("*.png"):
        path.unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, r"data folder .* does not exist; set root"),
        (no_test, r"but no folder test or val; set root"),
        (one_image, r"train/dog holds one image alone; expected two or more: add some, or"),
        (no_image, r"train/dog holds no image; expected two or more"),
        (another_class, r"val has the class 'dogs', which the training images lack.*mean 'dog'"),
        (flat, r"train holds no folder, but 1.png and such; expected a folder of images for each"),
        (one_class, r"train has one class alone, 'cat'; expected two folders or more"),
        (empty_test, r"The folders in .*test hold no image"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path: Path, damage: Any, message: str) -> None:
    write_image_folder(tmp_path / "data")
    damage(tmp_path / "data")
    with pytest.raises(InputError, match=message):
        made(tmp_path / "data")


def test_files_that_are_not_images_are_found_before_the_training(tmp_path: Path) -> None:
    write_image_folder(tmp_path)
    (tmp_path / "test" / "dog" / "test_1.png").write_text("no image")
    (tmp_path / "test" / "owl" / "test_2.png").write_bytes(b"")
    data = made(tmp_path)
    message = r"2 of 12 test images can't be read, the first is .*dog/test_1.png \(not an image\)"
    with pytest.raises(InputError, match=message):
        data.setup("fit")


def test_too_large_a_part_for_validation_leaves_classes_untrained(tmp_path: Path) -> None:
    write_image_folder(tmp_path, counts={"train": 2, "val": 2})
    with pytest.raises(InputError, match=r"of 3 classes have none left to train on: .*lower val_"):
        made(tmp_path, val_fraction=0.8)
