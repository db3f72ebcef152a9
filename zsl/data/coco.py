"""MS-COCO: 80 classes, all trained or some of them unseen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np

from zsl.data.coco_classes import CLASSES, UNSEEN, USED
from zsl.data.datamodule import absolute
from zsl.data.listed_images import ListedDataModule, ListedImages
from zsl.data.transforms import ImageConfig
from zsl.errors import InputError, listing, reason_of, refuse_repeated, require

_USED_KEYS = {
    *("info", "year", "images", "file_name", "categories", "name"),
    *("annotations", "image_id", "category_id", "id"),
}


class COCODataModule(ListedDataModule):
    """MS-COCO in its native layout: what its classes are is told by the annotated objects.

    The official validation images, whose annotations are public, are the test split: on them all
    publications measure. The published zero-shot results on 48/17 are on a sample of the images of
    val2014, which no rule gives back: 6,392 images, of which the 2,729 with an unseen class make
    the ZSL part. `test_list` takes it. Without it all images of val2014 that have one of the
    classes are tested. The published training takes the images of train2014 with a seen class
    (`unlabelled: drop`). For 65/15 there is no list; Rahman et al., who detect objects, leave
    training images with an unseen class out (`with_unseen: drop`).

    Args:
        root: Folder with `annotations/instances_{train,val}<year>.json`, `train<year>/` and
            `val<year>/`.
        year: 2014 (82,783 training and 40,504 test images) or 2017 (118,287 and 5,000). The
            published numbers are of 2014.
        zero_shot: None trains all 80 classes. `48_17` has 48 seen and 17 unseen ones (Bansal et
            al., arXiv 1804.04340; the other 15 are left out); `65_15` has 65 and 15 (Rahman et al.,
            arXiv 1811.08982).
        unannotated: What to do about images without an object of the classes, in training and
            test: `drop`, as all published numbers do (82,081 and 40,137 images of 2014 remain), or
            `keep`, as torchvision's `CocoDetection` does.
        test_list: JSON file with the images to test on, `{"images": [[file name, …], …]}`, as is
            published for 48/17: github.com/EricTan7/RAM, datasets/json/test_65_filtered.json.
        images: The square that is made of each image.
        loading: Further arguments of `ListedDataModule`.

    Raises:
        InputError: A file is missing, damaged, or of another year or data set.
    """

    def __init__(
        self,
        root: str,
        year: Literal[2014, 2017] = 2014,
        zero_shot: Literal["48_17", "65_15"] | None = None,
        unannotated: Literal["drop", "keep"] = "drop",
        test_list: str | None = None,
        images: ImageConfig = ImageConfig(size=448, cutout=0.5, rand_augment="published"),
        **loading: Any,
    ) -> None:
        root = absolute(root)
        test_list = test_list and absolute(test_list)
        super().__init__(images, **loading)
        require(year in (2014, 2017), f"year is {year}; expected 2014 or 2017.")
        require(
            zero_shot in (None, *UNSEEN),
            f"zero_shot is {zero_shot!r}; expected {', '.join(UNSEEN)} or null.",
        )
        require(
            unannotated in ("drop", "keep"),
            f"unannotated is {unannotated!r}; expected drop or keep.",
        )
        train, test = (read_instances(Path(root), part, year) for part in ("train", "val"))
        if test_list:
            test = _select(test, Path(test_list), root)
        names = USED[zero_shot] if zero_shot else CLASSES
        columns = [CLASSES.index(name) for name in names]
        train, test = (ListedImages(part.paths, part.targets[:, columns]) for part in (train, test))
        if unannotated == "drop":
            train, test = (
                part.at(np.flatnonzero(part.targets.any(axis=1))) for part in (train, test)
            )
        source = f"train{year}.zip and val{year}.zip of cocodataset.org in {root}"
        self.take(train, test, names, UNSEEN[zero_shot] if zero_shot else [], source)


def read_instances(root: Path, part: str, year: int) -> ListedImages:
    """Reads the annotations of objects: the images by ascending id, their targets over `CLASSES`.

    Objects count whatever their size, crowds too. Plain JSON rather than pycocotools, which keeps
    the outlines of all objects: 2.2 GiB instead of 0.7 for a file of the size of train2014's.

    Args:
        root: Folder of the data set.
        part: `train` or `val`.
        year: Its year.

    Raises:
        InputError: The file is missing, damaged, or of another year or data set.
    """
    path = root / "annotations" / f"instances_{part}{year}.json"
    content = _read_json(path, year)
    try:
        found_year = int(content.get("info", {}).get("year", year))
        images = sorted((image["id"], image["file_name"]) for image in content["images"])
        categories = sorted((entry["id"], entry["name"]) for entry in content["categories"])
        objects = [(entry["image_id"], entry["category_id"]) for entry in content["annotations"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path} doesn't hold COCO's instances ({type(error).__name__}: {reason_of(error)}); "
            f"unpack annotations_trainval{year}.zip again."
        ) from error
    require(
        found_year == year,
        f"{path} is of the year {found_year}; expected {year}: set year, or replace the file.",
    )
    names = [name for _, name in categories]
    if names != CLASSES:
        unknown = [name for name in names if name not in CLASSES]
        absent = [name for name in CLASSES if name not in names]
        raise InputError(
            f"{path} has {len(names)} categories, which are not COCO's {len(CLASSES)} in the order "
            f"of their ids (not COCO's: {listing(unknown)}; absent: {listing(absent)}); data with "
            "other classes can be had as a table, see zsl.data.TableDataModule."
        )
    refuse_repeated((str(image) for image, _ in images), lambda row: f"{path}, image {row + 1}")
    row_of = {image: row for row, (image, _) in enumerate(images)}
    column_of = {category: column for column, (category, _) in enumerate(categories)}
    targets = np.zeros((len(images), len(CLASSES)), dtype=np.int8)
    for number, (image, category) in enumerate(objects, 1):
        if image not in row_of or category not in column_of:
            what = f"image {image}" if image not in row_of else f"category {category}"
            raise InputError(
                f"{path}: annotation {number} is of the {what}, which the file doesn't list; "
                f"unpack annotations_trainval{year}.zip again."
            )
        targets[row_of[image], column_of[category]] = 1
    folder = root / f"{part}{year}"
    return ListedImages([folder / name for _, name in images], targets)


def _read_json(path: Path, year: int) -> dict[str, Any]:
    others = sorted(other.name for other in path.parent.glob("instances_*.json"))
    require(
        path.is_file(),
        f"{path} does not exist (found there: {listing(others)}); set year, or unpack "
        f"annotations_trainval{year}.zip of cocodataset.org there.",
    )
    return _parse(path, f"annotations_trainval{year}.zip")


def _parse(path: Path, source: str) -> dict[str, Any]:
    try:
        with path.open(encoding="utf-8") as file:
            content = json.load(file, object_hook=_without_outlines)
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(
            f"{path} can't be read ({reason_of(error)}); get it again from {source}."
        ) from error
    require(isinstance(content, dict), f"{path} holds no JSON object; get it again from {source}.")
    return content


def _without_outlines(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key in _USED_KEYS}


def _select(images: ListedImages, path: Path, root: str) -> ListedImages:
    """Returns the images that a list names."""
    require(path.is_file(), f"The test_list {path} does not exist.")
    try:
        wanted = {Path(entry[0]).name for entry in _parse(path, "its authors")["images"]}
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(
            f'{path} is not a list of images; expected {{"images": [[file name, …], …]}}.'
        ) from error
    names = [image.name for image in images.paths]
    if strange := wanted.difference(names):
        raise InputError(
            f"{path} names {len(strange):,} images that are not val images of {root}: "
            f"{listing(sorted(strange))}; set the year that it is of."
        )
    return images.at(np.isin(names, list(wanted)))
