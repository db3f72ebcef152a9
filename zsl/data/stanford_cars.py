"""Stanford Cars (Krause et al., 2013): 196 models of cars."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from torchvision.datasets import StanfordCars

from zsl.data.datamodule import MultiLabelDataModule, absolute
from zsl.data.lost_images import check_files
from zsl.data.single_label import SingleLabelFiles, split_classes
from zsl.data.split import Split
from zsl.data.transforms import ImageConfig
from zsl.errors import InputError, reason_of, require
from zsl.files.digests import text_digest
from zsl.labels import Role, Vocabulary
from zsl.preprocessing import ImageTransform

_FOLDER = "stanford_cars"
_LAYOUT = (
    "cars_train",
    "cars_test",
    "devkit/cars_train_annos.mat",
    "devkit/cars_meta.mat",
    "cars_test_annos_withlabels.mat",
)
"""What torchvision reads, below `stanford_cars`."""


class StanfordCarsDataModule(MultiLabelDataModule):
    """Stanford Cars in torchvision's layout; their download is dead.

    The official 8,041 test images are the test split; of the 8,144 training images a part is kept
    for validation.

    Args:
        root: Folder that holds `stanford_cars`, with `cars_train`, `cars_test`,
            `devkit/cars_train_annos.mat`, `devkit/cars_meta.mat` and
            `cars_test_annos_withlabels.mat`.
        val_fraction: Fraction of the training images to validate on.
        split_seed: Seed of that draw.
        images: The square that is made of each image.
        loading: Further arguments of `MultiLabelDataModule`.

    Raises:
        InputError: A file is missing, or is not what it should be.
    """

    def __init__(
        self,
        root: str,
        val_fraction: float = 0.05,
        split_seed: int = 0,
        images: ImageConfig = ImageConfig(min_crop=0.6, horizontal_flip=True),
        **loading: Any,
    ) -> None:
        root = absolute(root)
        super().__init__(images, **loading)
        self.root = Path(root, _FOLDER)
        missing = [name for name in _LAYOUT if not (self.root / name).exists()]
        require(
            not missing,
            f"{self.root / (missing or [''])[0]} is missing, and Stanford Cars can't be downloaded "
            f"from its authors any more; get a copy, and set root to a folder with {_FOLDER} in "
            f"it, which holds {', '.join(_LAYOUT)}.",
        )
        names, files, columns = _read(self.root, "train")
        test = _read(self.root, "test")[1:]
        self.vocabulary = Vocabulary(names, [Role.SEEN] * len(names))
        train, val = split_classes(columns, names, val_fraction, split_seed)
        self.rows: dict[Split, tuple[pa.StringArray, np.ndarray]] = {
            Split.TRAIN: (files.take(train), columns[train]),
            Split.VAL: (files.take(val), columns[val]),
            Split.TEST: test,
        }

    def check_images(self, splits: Sequence[Split]) -> None:
        """Refuses missing files and files that are not images."""
        for split in splits:
            check_files(self.dataset(split, self.evaluation_transform), split)

    def dataset(self, split: Split, transform: ImageTransform) -> SingleLabelFiles:
        """Returns the images of a split."""
        return SingleLabelFiles(self.root, *self.rows[split], len(self.vocabulary), transform)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the classes, and of files and classes of each split; not of the pixels."""
        rows = (
            f"{split} {file} {column}"
            for split in Split
            for file, column in zip(
                self.rows[split][0].to_pylist(), self.rows[split][1], strict=True
            )
        )
        return text_digest([*self.vocabulary.names, *rows])


def _read(folder: Path, split: str) -> tuple[list[str], pa.StringArray, np.ndarray]:
    """Returns names of the classes, files below the folder, and their classes int64 (N,)."""
    name = {"train": "devkit/cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat"}[split]
    try:
        # It would read the images themselves.
        cars = StanfordCars(folder.parent, split, loader=str)
        rows = [cars[index] for index in range(len(cars))]
        files = [str(Path(path).relative_to(folder)) for path, _ in rows]
        columns = np.array([column for _, column in rows], dtype=np.int64)
        names = [str(name) for name in cars.classes]
    except Exception as error:  # What is not such a file of MATLAB fails in many ways.
        raise InputError(
            f"{folder / name}, or {folder / 'devkit/cars_meta.mat'}, can't be read as annotations "
            f"of Stanford Cars ({reason_of(error)}); expected MATLAB files with annotations (fname "
            "and class) and class_names."
        ) from error
    wrong = np.flatnonzero((columns < 0) | (columns >= len(names)))
    require(
        len(wrong) == 0 and len(files) > 0,
        f"{folder / name} has {len(files)} images, {len(wrong)} of them with a class that is not "
        f"from 1 to {len(names)}; expected the authors' file.",
    )
    return names, pa.array(files, pa.string()), columns
