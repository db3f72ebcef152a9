"""ImageNet (ILSVRC2012), as everyone unpacks it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from timm.data import ImageNetInfo

from zsl.data.image_folder import ImageFolderDataModule
from zsl.data.split import Split
from zsl.errors import InputError, others


class ImageNetDataModule(ImageFolderDataModule):
    """ImageNet as `train|val/WNID/FILE`: the 50,000 images of `val` are the test split.

    The names of the classes are the first of each synset in `timm.data.ImageNetInfo`, their order
    is that of the WNIDs, as in published checkpoints. Where two synsets have the same name, such as
    the two cranes, the WNID follows it: `crane (n02012849)`.

    The arguments are those of `ImageFolderDataModule`.
    """

    def _folders(self) -> dict[Split, Path]:
        """Returns the folders of the training and test images; the official test has no labels."""
        flat = sorted((self.root / "val").glob("ILSVRC2012_val_*"))
        if flat:
            raise InputError(
                f"{flat[0].parent} holds {flat[0].name} and others side by side; expected a folder "
                "for each WNID: sort them with the script valprep.sh of "
                "github.com/soumith/imagenetloader.torch."
            )
        folders = super()._folders()
        if (self.root / "val").is_dir():
            folders = {Split.TRAIN: folders[Split.TRAIN], Split.TEST: self.root / "val"}
        return folders

    def names(self, folders: Sequence[str]) -> list[str]:
        """Returns the names of the classes.

        Args:
            folders: Their WNIDs, sorted.

        Raises:
            InputError: A folder is not a class of ImageNet.
        """
        info = ImageNetInfo()
        first = {
            wnid: info.label_name_to_description(wnid).split(",")[0] for wnid in info.label_names()
        }
        if unknown := [folder for folder in folders if folder not in first]:
            raise InputError(
                f"The folder {self.root / 'train' / unknown[0]} is not one of the {len(first):,} "
                "classes of ImageNet, such as n01440764; for other images take "
                "zsl.data.ImageFolderDataModule." + others(unknown)
            )
        count = Counter(first.values())
        return [
            first[wnid] if count[first[wnid]] == 1 else f"{first[wnid]} ({wnid})"
            for wnid in folders
        ]
