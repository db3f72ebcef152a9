"""The files of OpenImages that its makers, and those of its zero-shot split, publish."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zsl.data.split import Split
from zsl.errors import InputError, require

Version = Literal["v6", "v4_zero_shot"]
FOLDERS = {Split.TRAIN: "train", Split.VAL: "validation", Split.TEST: "test"}
"""What the parts are called in the names of files and folders."""
_SITE = "https://storage.googleapis.com/openimages"
_LISTS = "https://github.com/hbdat/cvpr20_LESA (data/OpenImages/2018_04)"
_V6 = {
    "oidv6-classes-trainable.txt": f"{_SITE}/v6",
    "oidv6-class-descriptions.csv": f"{_SITE}/v6",
    "oidv6-train-annotations-human-imagelabels.csv": f"{_SITE}/v6",
    "validation-annotations-human-imagelabels.csv": f"{_SITE}/v5",
    "test-annotations-human-imagelabels.csv": f"{_SITE}/v5",
}
_V4 = {
    "classes-trainable.txt": _LISTS,
    "class-descriptions.csv": _LISTS,
    "train-annotations-human-imagelabels.csv": f"{_SITE}/2018_04/train",
    "validation-annotations-human-imagelabels.csv": f"{_SITE}/2018_04/validation",
    "test-annotations-human-imagelabels.csv": f"{_SITE}/2018_04/test",
    "unseen_labels.pkl": _LISTS,
    "top_400_unseen.csv": _LISTS,
}
_FILES = {"v6": _V6, "v4_zero_shot": _V4}
_OTHERS = {
    "*/labels/classifications.csv": "FiftyOne's export of OpenImages",
    "*/labels/detections.csv": "FiftyOne's export of OpenImages",
    "*class-descriptions-boxable*.csv": "a list of the 600 classes that have boxes",
    "*human-imagelabels-boxable.csv": "the labels of the 600 classes that have boxes",
}
"""Files of another benchmark, and what they are."""


@dataclass(frozen=True)
class SourceFiles:
    """The files of a version.

    Args:
        version: Which.
        classes: The labels that are trained, a LabelName (`/m/01g317`) a line.
        descriptions: LabelName and DisplayName of each label.
        annotations: The labels that people verified, of each split.
        unseen: The lists of the unseen labels: a pickle of LabelNames, and which of them are used.
    """

    version: Version
    classes: Path
    descriptions: Path
    annotations: dict[Split, Path]
    unseen: tuple[Path, ...]

    @classmethod
    def find(cls, root: Path, version: Version) -> SourceFiles:
        """Finds them in a folder, in its folder annotations, or in those of the splits.

        Raises:
            InputError: One is missing; the message says where to get it, and what is there instead.
        """
        require(version in _FILES, f"version is {version!r}; expected {' or '.join(_FILES)}.")
        require(
            root.is_dir(),
            f"The data folder {root} does not exist; set root to the folder of OpenImages.",
        )
        places = [root, root / "annotations", *(root / name for name in FOLDERS.values())]
        found = []
        for name, source in _FILES[version].items():
            path = next((folder / name for folder in places if (folder / name).is_file()), None)
            if path is None:
                raise InputError(
                    f"{root} lacks {name} of OpenImages ({version}); put the file from {source} "
                    f"there.{_what_is_there(root)}"
                )
            found.append(path)
        classes, descriptions, train, val, test, *unseen = found
        annotations = {Split.TRAIN: train, Split.VAL: val, Split.TEST: test}
        return cls(version, classes, descriptions, annotations, tuple(unseen))

    def __iter__(self) -> Iterator[Path]:
        """Yields all of them."""
        yield from (self.classes, self.descriptions, *self.annotations.values(), *self.unseen)


def _what_is_there(root: Path) -> str:
    """Says what a folder holds that is often taken for these files."""
    for pattern, what in _OTHERS.items():
        if path := next(root.glob(pattern), None):
            return (
                f" {path.relative_to(root)} is {what}: another benchmark than that of all labels, "
                "with other numbers."
            )
    if (root / "data.csv").is_file():
        return (
            " data.csv, the list of PartialLabelingCSL, has damaged names of labels; the images "
            "that came with it can be used with the official files."
        )
    return ""
