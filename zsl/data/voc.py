"""PASCAL VOC: 20 classes, all trained or four of them unseen."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

import numpy as np
from filelock import FileLock
from torchvision.datasets.voc import DATASET_YEAR_DICT, VOCDetection

from zsl.data.datamodule import absolute
from zsl.data.listed_images import ListedDataModule, ListedImages
from zsl.data.transforms import ImageConfig
from zsl.errors import InputError, did_you_mean, reason_of, require

CLASSES = {
    **{name: name for name in ("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car")},
    **{name: name for name in ("cat", "chair", "cow")},
    "diningtable": "dining table",
    **{name: name for name in ("dog", "horse", "motorbike", "person")},
    "pottedplant": "potted plant",
    **{name: name for name in ("sheep", "sofa", "train")},
    "tvmonitor": "tv monitor",
}
"""The 20 classes as the annotations spell them, and as words; alphabetical."""

UNSEEN = ["car", "dog", "sofa", "train"]
"""Of the split 16/4 of Demirel et al., BMVC 2018, on which zero-shot detection is measured."""

_PARTS = {2007: ("trainval", "test"), 2012: ("train", "val")}


class VOCDataModule(ListedDataModule):
    """PASCAL VOC: what the classes of an image are is told by its annotated objects.

    2007 trains on trainval and tests on test (5,011 and 4,952 images), as all publications do. The
    labels of 2012's test images were never published: its results on test come from the
    organisers' server; here its train part is trained (5,717 images) and its val part is the test
    split (5,823).

    Published numbers treat `difficult` objects, which are hard to recognise without their
    surroundings, in different ways. The devkit leaves an image out for a class of which it has
    difficult objects only (`unknown`: the 0 in `ImageSets/Main/<class>_<part>.txt`). ML-GCN's code
    measures so but trains such an image as showing the class. SSGRL's and DualCoOp's count it as
    not showing it, in training and test (`absent`). The code behind the numbers of ASL and
    ML-Decoder has no VOC in it.

    Args:
        root: Folder in which `VOCdevkit/VOC<year>` is, or is put by the download.
        year: 2007 or 2012.
        download: Downloads what `root` lacks: 0.9 GB for 2007, 2.0 GB for 2012.
        difficult: What an image is to a class of which it has difficult objects only: `unknown`,
            which leaves it out of loss and metrics, `present` or `absent`.
        zero_shot: Leaves car, dog, sofa and train untrained (Demirel et al., BMVC 2018, who detect
            objects; they leave training images with one of them out: `with_unseen: drop`).
        images: The square that is made of each image.
        val_fraction: Fraction of the training images on which the checkpoint is selected.
        loading: Further arguments of `ListedDataModule`.

    Raises:
        InputError: A file is missing and can't be downloaded, or is damaged.
    """

    def __init__(
        self,
        root: str,
        year: Literal[2007, 2012] = 2007,
        download: bool = True,
        difficult: Literal["unknown", "present", "absent"] = "unknown",
        zero_shot: bool = False,
        images: ImageConfig = ImageConfig(size=448, cutout=0.5, rand_augment="published"),
        val_fraction: float = 0.1,
        **loading: Any,
    ) -> None:
        root = absolute(root)
        super().__init__(images, val_fraction, **loading)
        require(year in _PARTS, f"year is {year}; expected {' or '.join(map(str, _PARTS))}.")
        values = {"unknown": -1, "present": 1, "absent": 0}
        require(
            difficult in values,
            f"difficult is {difficult!r}; expected one of {', '.join(values)}.",
        )
        train, test = (
            _read(Path(root), year, part, download, values[difficult]) for part in _PARTS[year]
        )
        source = f"the archives of VOC{year} in {root}"
        self.take(train, test, list(CLASSES.values()), UNSEEN if zero_shot else [], source)


def _read(root: Path, year: int, part: str, download: bool, difficult: int) -> ListedImages:
    """Reads the annotations of a part, which is downloaded where it is absent."""
    voc = _open(root, year, part, download)
    require(len(voc) > 0, f"{root}/VOCdevkit/VOC{year}/ImageSets/Main/{part}.txt lists no image.")
    targets = np.stack([read_target(Path(path), difficult) for path in voc.annotations])
    return ListedImages([Path(path) for path in voc.images], targets)


def _open(root: Path, year: int, part: str, download: bool) -> VOCDetection:
    folder = root / "VOCdevkit" / f"VOC{year}"
    listed = folder / "ImageSets" / "Main" / f"{part}.txt"
    archive = DATASET_YEAR_DICT["2007-test" if part == "test" else str(year)]
    advice = f"download {archive['url']} and unpack it in {root}, so that {listed} is there"
    # torchvision looks at the archive alone, which many delete once it is unpacked.
    unfinished = root / f".VOC{year}_{part}_unfinished"
    if listed.is_file() and not unfinished.exists():
        return VOCDetection(str(root), str(year), part)
    if unfinished.exists():
        advice = f"{advice} as a whole, and delete {unfinished}"
    state = "was not unpacked to the end" if unfinished.exists() else "does not exist"
    require(download, f"{listed} {state}; {advice}, or set download to true.")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".VOC{year}.lock"):  # Of several processes one downloads.
            if unfinished.exists() or not listed.is_file():
                _download(root, year, part, listed, unfinished)
        return VOCDetection(str(root), str(year), part)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"PASCAL VOC {year} is not in {root} and can't be downloaded ({reason_of(error)}); "
            f"{advice}."
        ) from error


def _download(root: Path, year: int, part: str, listed: Path, unfinished: Path) -> None:
    """Downloads and unpacks; what breaks off in the midst of unpacking leaves its mark."""
    unfinished.touch()
    done = False
    try:
        VOCDetection(str(root), str(year), part, download=True)
        done = True
    finally:
        if done or not listed.is_file():
            unfinished.unlink()


def read_target(path: Path, difficult: int) -> np.ndarray:
    """Reads which classes the objects of an annotation file have.

    Args:
        path: The XML file.
        difficult: The target of a class with difficult objects only.

    Returns:
        int8 (20,): 1 present, 0 absent, or `difficult`.

    Raises:
        InputError: The file is missing or damaged, or has an object of another class.
    """
    try:
        objects = ElementTree.parse(path).getroot().findall("object")
    except FileNotFoundError as error:
        raise InputError(
            f"The annotation file {path} does not exist; unpack the archive again."
        ) from error
    except (OSError, ElementTree.ParseError) as error:
        raise InputError(
            f"The annotation file {path} can't be read ({reason_of(error)}); unpack it again."
        ) from error
    columns = {name: column for column, name in enumerate(CLASSES)}
    target = np.zeros(len(CLASSES), dtype=np.int8)
    # Difficult ones first: another object of the class says more.
    for entry in sorted(objects, key=lambda entry: not _is_difficult(entry)):
        name = (entry.findtext("name") or "").strip()
        require(
            name in columns,
            f"{path}: an object is of the class {name!r}, which is not one of VOC's 20; correct "
            f"it.{did_you_mean(name, columns)}",
        )
        target[columns[name]] = difficult if _is_difficult(entry) else 1
    return target


def _is_difficult(entry: ElementTree.Element) -> bool:
    return (entry.findtext("difficult") or "").strip() == "1"
