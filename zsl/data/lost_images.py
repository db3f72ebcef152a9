"""Image files that are missing or damaged, found before hours of training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from zsl.data.dataset import ImageFileDataset
from zsl.errors import InputError, others, reason_of
from zsl.files.images import UNREADABLE, check_ends


def find_lost(paths: Sequence[Path], what: str) -> tuple[list[int], dict[int, str]]:
    """Looks at the ends of image files.

    Args:
        paths: The files.
        what: What they are called on the progress bar.

    Returns:
        Positions of those that are missing; of those that can't be read, with the reason.
    """
    missing, unreadable = [], {}
    for position, path in enumerate(tqdm(paths, f"checking {what} images", delay=3)):
        try:
            check_ends(path)
        except (FileNotFoundError, NotADirectoryError):
            missing.append(position)
        except UNREADABLE as error:
            unreadable[position] = reason_of(error)
    return missing, unreadable


def check_files(
    images: ImageFileDataset,
    what: str,
    remedy: str = "replace them, or take them out of the data",
) -> None:
    """Refuses missing files and files that are not images, by their ends.

    Args:
        images: The images of a split.
        what: The split's name.
        remedy: What to do, for the message.

    Raises:
        InputError: There are such files; the message says how many, and why the first is one.
    """
    paths = [images.path(index) for index in range(len(images))]
    missing, unreadable = find_lost(paths, what)
    wrong = dict.fromkeys(missing, "it does not exist") | unreadable
    if wrong:
        first = min(wrong)
        raise InputError(
            f"{len(wrong):,} of {len(paths):,} {what} images can't be read, the first is "
            f"{paths[first]} ({wrong[first]}); {remedy}."
            + others([str(paths[position]) for position in sorted(wrong)])
        )
