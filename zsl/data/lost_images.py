"""Image files that are missing or damaged, found before hours of training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from zsl.errors import reason_of
from zsl.files.images import check_ends


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
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            unreadable[position] = reason_of(error)
    return missing, unreadable
