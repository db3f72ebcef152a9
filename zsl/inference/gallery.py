"""Images for notebooks: those that fit any words best, and what in them speaks for these."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from zsl.errors import require
from zsl.files.images import read_image, to_rgb
from zsl.inference.heat_maps import LONG_SIDE, overlay
from zsl.inference.image_batches import ImageLike
from zsl.inference.tagger import Tagger

PRESENT, ABSENT = "#228833", "#CC3311"
_CELL = 1.9
"""Side of an image in inches."""


class Gallery:
    """Images whose tokens are kept, so that any labels are scored at once.

    Args:
        tagger: Scores labels, and embeds new ones.
        images: N paths, or images of Pillow.

    Attributes:
        images: N small RGB images, as they are shown: the parts that the tagger sees.

    Raises:
        InputError: There is no image, or one can't be read.
    """

    def __init__(self, tagger: Tagger, images: Sequence[ImageLike]) -> None:
        require(len(images) > 0, "There are no images to look at; give one at least.")
        self.tagger = tagger
        self.tokens = torch.cat(list(tagger.token_batches(images)))
        self.images = [tagger.resizing.seen_part(_small(image)) for image in images]

    def scores(self, labels: Sequence[str]) -> Tensor:
        """Returns scores (N, L) of any L labels.

        Raises:
            InputError: A label is empty or there twice, or has no vector.
        """
        _, queries = self.tagger.embed(labels)
        return self.tagger.score(self.tokens, queries)[1].cpu()

    def overlays(self, index: int, labels: Sequence[str]) -> list[Image.Image]:
        """Returns an image once per label, bright where it speaks for the label.

        Args:
            index: Position of the image.
            labels: Any L names.

        Raises:
            InputError: The tagger has no heat maps, or a label no vector.
        """
        (maps,) = self.tagger.heat_maps(self.tokens[index : index + 1], labels)
        return [overlay(self.images[index], own) for own in maps.cpu().numpy()]

    def ranked(self, labels: Sequence[str], count: int = 6) -> Figure:
        """Draws a row per label: the images of the highest scores, bright where they speak for it.

        Taggers without heat maps show the images as they are.

        Args:
            labels: Any L names.
            count: Most images in a row.

        Raises:
            InputError: A label is empty or there twice, or has no vector.
        """
        _, queries = self.tagger.embed(labels)
        prepared = self.tagger.prepare(queries)
        scores = self.tagger.score(self.tokens, prepared)[1].cpu()
        best, indices = scores.topk(min(count, len(scores)), dim=0)
        shown: list[Image.Image] = []
        for column, row in enumerate(indices.T.tolist()):
            images = [self.images[index] for index in row]
            if self.tagger.has_heat_maps:
                maps = self.tagger.heat_maps(self.tokens[row], prepared, [column])
                images = list(map(overlay, images, maps[:, 0].cpu().numpy()))
            shown += images
        titles = [f"{score:.3f}" for score in best.T.flatten().tolist()]
        return image_grid(shown, titles, len(best), rows=labels)


def _small(image: ImageLike) -> Image.Image:
    shown = to_rgb(image).copy() if isinstance(image, Image.Image) else read_image(Path(image))
    shown.thumbnail((LONG_SIDE, LONG_SIDE))
    return shown


def image_grid(
    images: Sequence[Image.Image],
    titles: Sequence[str],
    columns: int,
    rows: Sequence[str] = (),
    colours: Sequence[str] = (),
) -> Figure:
    """Draws images in rows, each with a title.

    Args:
        images: N images.
        titles: N texts.
        columns: Images per row.
        rows: Texts beside the rows; none where empty.
        colours: N colours of frames; no frames where empty.
    """
    number = -(-len(images) // columns)
    figure = Figure(figsize=(_CELL * columns, (_CELL + 0.25) * number), layout="constrained")
    cells = figure.subplots(number, columns, squeeze=False)
    for axes in cells.flat:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
    for index, (axes, image) in enumerate(zip(cells.flat, images, strict=False)):
        axes.imshow(np.asarray(image))
        axes.set_title(titles[index], fontsize=9, parse_math=False)
        if colours:
            axes.spines[:].set(visible=True, color=colours[index], linewidth=3)
    for axes, text in zip(cells[:, 0], rows, strict=False):
        axes.set_ylabel(text, fontsize=10, parse_math=False)
    return figure
