from pathlib import Path
from typing import Any

import pytest

from tests.fakes.image_folder import WNIDS, write_image_folder, write_imagenet
from zsl.data import ImageConfig, ImageNetDataModule, Split
from zsl.errors import InputError


def made(root: Path, **changes: Any) -> ImageNetDataModule:
    return ImageNetDataModule(str(root), images=ImageConfig(24), num_workers=0, **changes)


def test_names_are_unique_and_in_the_order_of_the_wnids(tmp_path: Path) -> None:
    data = made(write_imagenet(tmp_path))
    expected = ["tench", "goldfish", "crane (n02012849)", "crane (n03126707)"]
    expected += ["maillot (n03710721)", "toilet tissue"]
    assert data.vocabulary.names == expected
    names = data.names([path.name for path in sorted((tmp_path / "train").iterdir())])
    assert names == expected


def test_all_thousand_names_differ(tmp_path: Path) -> None:
    from timm.data import ImageNetInfo

    data = made(write_imagenet(tmp_path))
    names = data.names(ImageNetInfo().label_names())
    assert len(set(names)) == 1000
    assert names[:2] == ["tench", "goldfish"]
    assert names[-1] == "toilet tissue"


def test_the_official_validation_images_are_the_test_split(tmp_path: Path) -> None:
    """The official test images lie beside them, without labels."""
    write_imagenet(tmp_path)
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "ILSVRC2012_test_00000001.JPEG").write_bytes(b"")
    data = made(tmp_path, val_fraction=0.2)
    counts = [len(data.dataset(split, data.evaluation_transform)) for split in Split]
    assert counts == [38, 10, 18]
    assert data.dataset(Split.TEST, data.evaluation_transform).path(0).parts[-3:-1] == (
        "val",
        WNIDS[0],
    )


def test_unsorted_validation_images_are_recognised(tmp_path: Path) -> None:
    write_image_folder(tmp_path, WNIDS, {"train": 4})
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "ILSVRC2012_val_00000001.JPEG").write_bytes(b"")
    with pytest.raises(InputError, match=r"ILSVRC2012_val_00000001.JPEG and others side by side"):
        made(tmp_path)


def test_other_classes_are_refused(tmp_path: Path) -> None:
    write_image_folder(tmp_path, counts={"train": 4, "val": 2})
    with pytest.raises(InputError, match=r"train/cat is not one of the 1,000 classes of ImageNet"):
        made(tmp_path)
