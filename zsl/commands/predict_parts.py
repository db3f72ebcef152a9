"""`zsl.predict --output FOLDER --format parquet`: millions of images, part by part."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from zsl.commands.tagging import Tagging
from zsl.errors import require
from zsl.files.image_paths import ImageListing
from zsl.inference.prediction_parts import PredictionParts, open_parts
from zsl.inference.prediction_rows import absolute_text
from zsl.inference.scorer import unlike_images
from zsl.notes import note


def write_parts(images: ImageListing, tagging: Tagging) -> None:
    """Tags the images that a folder of parts does not have yet; one part at most is in memory.

    Args:
        images: Image files.
        tagging: Tags them.

    Raises:
        InputError: The folder holds something else, or no image can be read.
    """
    options = tagging.options
    folder, size = Path(options.output), options.images_per_part or 10_000
    with open_parts(folder, options.format, size, tagging.predictor.depends_on()) as parts:
        # Counted first, so that the progress is known; no image is read for it.
        are_done = Counter(absolute_text(path) in parts.done for path in images)
        num_done, total = are_done[True], are_done.total()
        if num_done:
            note(f"{num_done:,} of {total:,} images are in {folder} already.")
        new = (path for path in images if absolute_text(path) not in parts.done)
        lists = iter(lambda: list(islice(new, size)), [])
        with tqdm(total=total, initial=num_done, unit=" images", delay=2) as progress:
            for rows in tagging.rows(lists):
                parts.add(rows)
                progress.update(len(rows))
    _report(folder, parts)


def _report(folder: Path, parts: PredictionParts) -> None:
    """Tells what the parts hold.

    Raises:
        InputError: No image could be read.
    """
    counts = parts.counts
    num_read = counts.images - counts.unreadable
    require(
        num_read > 0,
        f"None of the {counts.images:,} images in {folder} can be read; the column error says why.",
    )
    if counts.unreadable:
        note(
            f"{counts.unreadable:,} of {counts.images:,} images in {folder} can't be read; the "
            "column error says why."
        )
    if counts.unlike:
        note(unlike_images(counts.unlike, num_read))
