"""Images that fit any words best, and what in them speaks for these."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self, overload

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from zsl.errors import require
from zsl.files.images import read_image, to_rgb
from zsl.inference.build_index import (
    check_made_with,
    compact_made_with,
    is_compact,
    tokens_made_with,
    update_index,
)
from zsl.inference.heat_maps import LONG_SIDE, overlay
from zsl.inference.image_batches import ImageLike
from zsl.inference.scorer import PreparedLabels
from zsl.inference.tagger import Tagger
from zsl.inference.token_index import Rows, StoredRows, TokenIndex
from zsl.models import Remembered
from zsl.preprocessing import Resizing

PRESENT, ABSENT = "#228833", "#CC3311"
_CELL = 1.9
"""Side of an image in inches."""
_NONE = "There are no images to look at; give one at least."
_VALUES_AT_ONCE = 2**22
"""Of the images that are scored at once: 16 MB."""


class Matches(NamedTuple):
    """The images that fit a label best, the best first; those that fit alike in their order."""

    label: str
    indices: list[int]
    """Positions in the gallery."""
    scores: list[float]


class Gallery:
    """Images whose tokens are kept, so that any labels are scored at once.

    In memory, for hundreds of images; `build` keeps them in a folder instead, for any number.

    Args:
        tagger: Scores labels, and embeds new ones.
        images: N paths, or images of Pillow.

    Attributes:
        sources: The N paths, or images of Pillow.
        images: N small RGB images, as they are shown: the parts that the tagger sees. Those of a
            folder are read when they are asked for.
        tokens: (N, T, C): a tensor, or for a folder what reads those of an image, `tokens[index]`,
            or of several, `tokens[[1, 3]]`.

    Raises:
        InputError: There is no image, or one can't be read.
    """

    sources: Sequence[ImageLike]
    images: Sequence[Image.Image]
    tokens: Tensor | TokensOfFiles

    def __init__(self, tagger: Tagger, images: Sequence[ImageLike]) -> None:
        require(len(images) > 0, _NONE)
        self.tagger = tagger
        self.sources = images
        self.tokens = torch.cat(list(tagger.token_batches(images)))
        self.images = [shown_image(image, tagger.resizing) for image in images]

    @classmethod
    def build(
        cls,
        tagger: Tagger,
        paths: Sequence[str | Path],
        folder: str | Path,
        batch_size: int = 32,
        compact: bool = False,
    ) -> Self:
        """Keeps the tokens of image files in a folder, or completes one that is there.

        Only files that are new to it, or whose size or time of change is another, are read. Those
        that were deleted are dropped; others that are not among the paths stay in the folder, but
        are not in this gallery. What was done is kept if it is stopped. Images that can't be read
        are skipped and counted.

        Args:
            tagger: Makes the tokens.
            paths: Image files.
            folder: Of the index; it is made if it is not there.
            batch_size: Images per batch.
            compact: Keeps what this tagger's head makes of the tokens whatever the labels, in place
                of the tokens: smaller, and searched many times as fast. It is rounded to float16,
                and of no use for another head. An index that is there stays what it is.

        Returns:
            The images of these paths, in the order of the index.

        Raises:
            InputError: The folder holds something else, or was made with another backbone, image
                size or resizing, or is not compact; another process changes it; or no image can be
                read.
        """
        require(batch_size >= 1, f"batch_size is {batch_size}; expected 1 or more.")
        require(len(paths) > 0, _NONE)
        given = {os.path.abspath(path): Path(path) for path in paths}
        made_with = compact_made_with(tagger) if compact else tokens_made_with(tagger)
        index = TokenIndex.create(Path(folder), made_with)
        check_made_with(index, tagger)
        require(
            is_compact(index) or not compact,
            f"The index {folder} is not compact and stays so; name another folder for one that is.",
        )
        update_index(index, tagger, [*given.values()], batch_size)
        return cls._of(tagger, index, given)

    @classmethod
    def open(cls, tagger: Tagger, folder: str | Path) -> Self:
        """Opens a folder of `build`, with all its images; whether these changed is not looked at.

        Raises:
            InputError: It is missing or damaged, has no image, or was made with another backbone,
                image size or resizing, or, if it is compact, with another head.
        """
        index = TokenIndex(Path(folder))
        check_made_with(index, tagger)
        require(len(index.files) > 0, f"The index {folder} has no images in it; name some to add.")
        return cls._of(tagger, index, {file.path: Path(file.path) for file in index.files})

    @classmethod
    def _of(cls, tagger: Tagger, index: TokenIndex, given: Mapping[str, Path]) -> Self:
        gallery = cls.__new__(cls)
        gallery.tagger = tagger
        selected, rows = index.select(lambda file: file.path in given)
        paths = [given[path] for path in selected]
        gallery.sources = paths
        gallery.tokens = TokensOfFiles(tagger, paths, rows)
        gallery.images = _ImageFiles(paths, tagger.resizing)
        return gallery

    def __len__(self) -> int:
        """Number of images."""
        return len(self.sources)

    def scores(self, labels: Sequence[str]) -> Tensor:
        """Returns scores (N, L) of any L labels.

        Raises:
            InputError: A label is empty or there twice, or has no vector.
        """
        _, queries = self.tagger.embed(labels)
        prepared = self.tagger.prepare(queries)
        return torch.cat([scores for _, scores in self._scored(prepared)])

    def best(
        self,
        labels: str | Sequence[str],
        count: int = 20,
        prepared: PreparedLabels | None = None,
    ) -> list[Matches]:
        """Finds the images that fit labels best; memory does not grow with their number.

        Args:
            labels: Any L names, or one.
            count: Most images of a label.
            prepared: What the tagger's `prepare` made of them; None has it make that.

        Returns:
            The best images of each label.

        Raises:
            InputError: The count is below 1; a label is empty or there twice, or has no vector.
        """
        require(count >= 1, f"count is {count}; expected 1 or more.")
        names, queries = self.tagger.embed(labels)
        prepared = self.tagger.prepare(queries) if prepared is None else prepared
        found = self._best(prepared, len(names), count)
        return [Matches(*match) for match in zip(names, *found, strict=True)]

    def _best(
        self, prepared: PreparedLabels, num_labels: int, count: int
    ) -> tuple[list[list[int]], list[list[float]]]:
        """Returns indices and scores of the best images for each of the labels."""
        logits = scores = torch.empty(0, num_labels)
        indices = torch.empty(0, num_labels, dtype=torch.int64)
        start = 0
        for new_logits, new_scores in self._scored(prepared):
            new_indices = torch.arange(start, start + len(new_logits))[:, None]
            start += len(new_logits)
            logits = torch.cat([logits, new_logits])
            # Not by scores: probabilities round to the same where logits differ.
            logits, order = logits.sort(dim=0, descending=True, stable=True)
            logits, order = logits[:count], order[:count]
            scores = torch.cat([scores, new_scores]).gather(0, order)
            joined = torch.cat([indices, new_indices.expand(-1, num_labels)])
            indices = joined.gather(0, order)
        return indices.T.tolist(), scores.T.tolist()

    def _scored(self, prepared: PreparedLabels) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields logits and scores (B, L) of all images, on the CPU."""
        with tqdm(total=len(self), unit=" images", delay=2) as progress:
            for tokens in self._batches():
                logits, scores = self.tagger.score(tokens, prepared)
                yield logits.cpu(), scores.cpu()
                progress.update(len(logits))

    def _batches(self) -> Iterator[Tensor | Remembered]:
        if isinstance(self.tokens, Tensor):
            return iter(self.tokens.split(max(1, _VALUES_AT_ONCE // self.tokens[0].numel())))
        return self.tokens.split(_VALUES_AT_ONCE)

    def is_unlike(self, index: int) -> bool:
        """Whether an image is unlike those on which the tagger was validated.

        Args:
            index: Position of the image.
        """
        if isinstance(self.tokens, Tensor):
            return bool(self.tagger.is_unlike(self.tokens[[index]]))
        return self.tokens.is_unlike(index)

    def overlays(self, index: int, labels: Sequence[str]) -> list[Image.Image]:
        """Returns an image once per label, bright where it speaks for the label.

        Args:
            index: Position of the image.
            labels: Any L names.

        Raises:
            InputError: The tagger has no heat maps, or a label no vector.
        """
        (maps,) = self.tagger.heat_maps(self.tokens[[index]], labels)
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
        best, scores = self._best(prepared, len(queries), count)
        shown: list[Image.Image] = []
        for column, row in enumerate(best):
            images = [self.images[index] for index in row]
            if self.tagger.has_heat_maps:
                maps = self.tagger.heat_maps(self.tokens[row], prepared, [column])
                images = list(map(overlay, images, maps[:, 0].cpu().numpy()))
            shown += images
        titles = [f"{score:.3f}" for row in scores for score in row]
        return image_grid(shown, titles, len(best[0]), rows=labels)


class TokensOfFiles:
    """The tokens of N image files of which rows are stored: read, or made once more.

    Args:
        tagger: Of the rows.
        paths: The N files.
        rows: Their `tokens`, or what the tagger's network remembers of these.
    """

    def __init__(self, tagger: Tagger, paths: Sequence[Path], rows: StoredRows) -> None:
        self._tagger = tagger
        self._paths = paths
        self._rows = rows

    def __len__(self) -> int:
        """Number of images."""
        return len(self._rows)

    def __getitem__(self, index: int | list[int]) -> Tensor:
        """Returns the tokens (T, C) of an image, or (I, T, C) of several, as the tagger takes them.

        Raises:
            InputError: The index is compact, and an image can't be read.
        """
        if isinstance(index, list):
            return torch.stack([self[one] for one in index])
        stored = self._rows[index].get("tokens")
        if stored is not None:
            return stored.to(next(self._tagger.parameters()))
        (tokens,) = self._tagger.token_batches(self._paths[index])
        return tokens[0]

    def is_unlike(self, index: int) -> bool:
        """Whether an image is unlike those on which the tagger was validated."""
        rows = self._rows[index]
        if "is_unlike" in rows:
            return bool(rows["is_unlike"])
        return bool(
            self._tagger.is_unlike(rows["tokens"][None].to(next(self._tagger.parameters())))
        )

    def split(self, num_values: int) -> Iterator[Tensor | Remembered]:
        """Yields what scores are made of, at most so many values at once."""
        for rows in self._rows.split(num_values):
            yield self._moved(rows)

    def remembered(self) -> Iterator[tuple[Remembered, Tensor]]:
        """Yields what a compact index keeps of some thousand images, and bool (B,): unlike or not.

        In the order of the images.
        """
        for rows in self._rows.split(_VALUES_AT_ONCE):
            moved = self._moved(rows)
            assert isinstance(moved, Remembered)
            yield moved, rows["is_unlike"].bool()

    def _moved(self, rows: Rows) -> Tensor | Remembered:
        parameter = next(self._tagger.parameters())
        moved = {n: array.to(parameter) for n, array in rows.items() if n != "is_unlike"}
        return moved["tokens"] if "tokens" in moved else Remembered(**moved)


class _ImageFiles(Sequence[Image.Image]):
    """Images as they are shown, each read when it is asked for."""

    def __init__(self, paths: Sequence[Path], resizing: Resizing) -> None:
        self.paths = paths
        self.resizing = resizing

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> Image.Image: ...
    @overload
    def __getitem__(self, index: slice) -> _ImageFiles: ...
    def __getitem__(self, index: int | slice) -> Image.Image | _ImageFiles:
        if isinstance(index, slice):
            return _ImageFiles(self.paths[index], self.resizing)
        return shown_image(self.paths[index], self.resizing)


def shown_image(image: ImageLike, resizing: Resizing) -> Image.Image:
    """Returns the small RGB image of the part that a tagger sees."""
    shown = to_rgb(image).copy() if isinstance(image, Image.Image) else read_image(Path(image))
    shown.thumbnail((LONG_SIDE, LONG_SIDE))
    return resizing.seen_part(shown)


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
