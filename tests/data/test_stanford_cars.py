from pathlib import Path
from typing import Any

import pytest
from scipy.io import savemat

from tests.fakes.cars import NAMES, write_annotations, write_cars
from zsl.data import ImageConfig, Split, StanfordCarsDataModule
from zsl.errors import InputError


def made(root: Path, **changes: Any) -> StanfordCarsDataModule:
    return StanfordCarsDataModule(str(root), images=ImageConfig(24), num_workers=0, **changes)


def test_images_have_the_class_that_is_counted_from_1(tmp_path: Path) -> None:
    write_cars(tmp_path)
    data = made(tmp_path, val_fraction=0.2)
    assert data.vocabulary.names == NAMES
    found = {}
    for split in Split:
        images = data.dataset(split, data.evaluation_transform)
        for index in range(len(images)):
            assert images.target(index).sum() == 1
            found[images.path(index).relative_to(tmp_path)] = int(images.target(index).argmax())
    expected = {
        Path("stanford_cars", f"cars_{split}", f"{number + 1:05}.jpg"): number % 6
        for split, count in (("train", 30), ("test", 12))
        for number in range(count)
    }
    assert found == expected
    assert [len(data.dataset(split, data.evaluation_transform)) for split in Split] == [24, 6, 12]
    data.setup("fit")
    assert next(iter(data.val_dataloader()))["image"].shape == (6, 3, 24, 24)


def test_the_fingerprint_tells_other_labels_apart(tmp_path: Path) -> None:
    folder = write_cars(tmp_path)
    before = made(tmp_path).fingerprint
    assert made(tmp_path).fingerprint == before
    write_annotations(
        folder / "cars_test_annos_withlabels.mat", [1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 5]
    )
    assert made(tmp_path).fingerprint != before


def not_matlab(folder: Path) -> None:
    (folder / "devkit" / "cars_train_annos.mat").write_text("fname,class\n")


def without_labels(folder: Path) -> None:
    savemat(folder / "cars_test_annos_withlabels.mat", {"annotations": [1, 2]})


def counted_from_0(folder: Path) -> None:
    write_annotations(folder / "devkit" / "cars_train_annos.mat", [0, 1, 2])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (not_matlab, r"cars_train_annos.mat, or .* can't be read as annotations .*; expected MAT"),
        (without_labels, r"cars_test_annos_withlabels.mat, or .* can't be read as annotations"),
        (counted_from_0, r"annos.mat has 3 images, 1 of them with a class that is not from 1 to 6"),
        (
            lambda folder: (folder / "cars_test_annos_withlabels.mat").unlink(),
            r"cars_test_annos_withlabels.mat is missing, and Stanford Cars can't be downloaded",
        ),
    ],
)
def test_bad_input_is_one_sentence(tmp_path: Path, damage: Any, message: str) -> None:
    damage(write_cars(tmp_path))
    with pytest.raises(InputError, match=message):
        made(tmp_path)


def test_images_that_are_missing_or_none_are_found_before_the_training(tmp_path: Path) -> None:
    folder = write_cars(tmp_path)
    (folder / "cars_test" / "00003.jpg").unlink()
    (folder / "cars_test" / "00007.jpg").write_text("no image")
    message = r"2 of 12 test images can't be read, the first is .*00003.jpg \(it does not exist\)"
    with pytest.raises(InputError, match=message):
        made(tmp_path).setup("fit")
