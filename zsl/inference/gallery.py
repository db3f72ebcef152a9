"""Pictures for notebooks: which of them any words fit, and where the decoder looked."""

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
from zsl.inference.image_batches import Picture
from zsl.inference.tagger import Tagger

PRESENT, ABSENT = "#228833", "#CC3311"
_CELL = 1.9
"""Side of a picture in inches."""


class Gallery:
    """Pictures whose tokens are kept, so that any words are answered at once.

    Args:
        tagger: Scores labels, and knows how to embed new ones.
        pictures: N paths, or images of Pillow.

    Raises:
        InputError: There is no picture, or one can't be read.
    """

    def __init__(self, tagger: Tagger, pictures: Sequence[Picture]) -> None:
        require(len(pictures) > 0, "There are no pictures to look at; give one at least.")
        self.tagger = tagger
        self.tokens = torch.cat(list(tagger.token_batches(pictures)))
        self.pictures = [_small(picture) for picture in pictures]

    def scores(self, labels: Sequence[str]) -> Tensor:
        """Returns scores (N, L) of L labels, any; an `InputError` names one without a vector."""
        _, queries = self.tagger.ask(labels)
        return self.tagger.score(self.tokens, queries)[1].cpu()

    def looked(self, place: int, labels: Sequence[str]) -> list[Image.Image]:
        """A picture once for each label: bright where the decoder looked for it.

        Args:
            place: Of the picture.
            labels: L names, any.

        Raises:
            InputError: The head has no attention, or a label no vector.
        """
        self.tagger.check_attention()
        _, queries = self.tagger.ask(labels)
        return self._overlays([place], queries)

    def _overlays(self, places: list[int], queries: Tensor) -> list[Image.Image]:
        """Of P places and label vectors (L, W), P times L pictures, place after place."""
        maps = self.tagger.maps(self.tokens[places], queries).cpu().numpy()
        return [
            overlay(self.pictures[place], weights)
            for place, own in zip(places, maps, strict=True)
            for weights in own
        ]

    def ranked(self, labels: Sequence[str], count: int = 6) -> Figure:
        """A row for each label: the pictures that score highest, bright where the decoder looked.

        Heads without attention show the pictures as they are.

        Args:
            labels: L names, any.
            count: Most pictures in a row.

        Raises:
            InputError: A label is empty or there twice, or has no vector.
        """
        _, queries = self.tagger.ask(labels)
        scores = self.tagger.score(self.tokens, queries)[1].cpu()
        best, places = scores.topk(min(count, len(scores)), dim=0)
        shown: list[Image.Image] = []
        for row, query in zip(places.T.tolist(), queries.split(1), strict=True):
            if self.tagger.has_attention:
                shown += self._overlays(row, query)
            else:
                shown += [self.pictures[place] for place in row]
        titles = [f"{score:.3f}" for score in best.T.flatten().tolist()]
        return picture_grid(shown, titles, len(best), rows=labels)


def _small(picture: Picture) -> Image.Image:
    """The picture as it is shown, RGB."""
    if isinstance(picture, Image.Image):
        shown = to_rgb(picture).copy()
    else:
        shown = read_image(Path(picture))
    shown.thumbnail((LONG_SIDE, LONG_SIDE))
    return shown


def picture_grid(
    pictures: Sequence[Image.Image],
    titles: Sequence[str],
    columns: int,
    rows: Sequence[str] = (),
    colours: Sequence[str] = (),
) -> Figure:
    """Pictures in rows, each with a title.

    Args:
        pictures: N images.
        titles: N texts.
        columns: Pictures a row.
        rows: Texts beside the rows; none where empty.
        colours: N, of frames; none where empty.
    """
    number = -(-len(pictures) // columns)
    figure = Figure(figsize=(_CELL * columns, (_CELL + 0.25) * number), layout="constrained")
    cells = figure.subplots(number, columns, squeeze=False)
    for axes in cells.flat:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
    for index, (axes, picture) in enumerate(zip(cells.flat, pictures, strict=False)):
        axes.imshow(np.asarray(picture))
        axes.set_title(titles[index], fontsize=9, parse_math=False)
        if colours:
            axes.spines[:].set(visible=True, color=colours[index], linewidth=3)
    for axes, text in zip(cells[:, 0], rows, strict=False):
        axes.set_ylabel(text, fontsize=10, parse_math=False)
    return figure
