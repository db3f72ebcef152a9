"""Tagging files on all processes of `zsl.predict`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from jsonargparse import Namespace
from torch import Tensor

from zsl.inference.batch_predictor import BatchPredictor
from zsl.inference.heat_maps import write_heat_maps
from zsl.inference.prediction import Prediction
from zsl.inference.prediction_rows import Row, absolute_text
from zsl.process_group import ProcessGroup

_MOST_BATCHES = 8
"""A process tags so many in a turn, so that it reads images ahead."""


@dataclass(frozen=True)
class Tagging:
    """How the processes of a command tag files.

    Args:
        predictor: Tags them.
        options: Options of the command.
        group: The processes.
        root: Folder of all images, to which the names of heat maps are relative.
    """

    predictor: BatchPredictor
    options: Namespace
    group: ProcessGroup
    root: str = "."

    def rows(self, lists: Iterable[Sequence[Path]]) -> Iterator[list[Row]]:
        """Yields on the first process a row for each image, batch by batch, in order.

        Args:
            lists: Image files. No batch is of two lists, so that the batches of a list are the
                same, whatever comes before and however many processes there are.
        """
        turns = ((turn, self.root) for paths in lists for turn in self._turns(paths))
        return self.group.flat_map(self._tag, turns)

    def _turns(self, paths: Sequence[Path]) -> Iterator[Sequence[Path]]:
        """Splits files into whole batches that the processes take turns at; alone takes all."""
        size = self.options.batch_size
        batches = ceil(len(paths) / size / self.group.size)
        size *= batches if self.group.size == 1 else min(batches, _MOST_BATCHES)
        for start in range(0, len(paths), size):
            yield paths[start : start + size]

    def _tag(self, turn: tuple[Sequence[Path], str]) -> Iterator[list[Row]]:
        paths, root = turn
        positions = {name: position for position, name in enumerate(self.predictor.names)}

        def draw(index: int, prediction: Prediction, tokens: Tensor) -> None:
            tagger, columns = self.predictor.tagger, [positions[label] for label in prediction[0]]
            (maps,) = tagger.heat_maps(tokens, self.predictor.prepared, columns)
            folder = Path(self.options.heatmaps)
            write_heat_maps(folder, paths[index], root, prediction, maps, tagger.resizing)

        return self.predictor.rows(
            paths,
            list(map(absolute_text, paths)),
            self.options.batch_size,
            None if self.options.heatmaps is None else draw,
        )
