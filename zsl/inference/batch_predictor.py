"""Tagging batch by batch, here or in the workers of Ray Data."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from zsl.errors import require
from zsl.files.digests import text_digest, weights_digest
from zsl.inference.image_batches import ImageBatch, ImageBytes, ImageLike, image_batches
from zsl.inference.prediction import Prediction
from zsl.inference.prediction_rows import Row, as_table
from zsl.inference.tagger import Tagger
from zsl.labels.encoders.texts import read_texts_of


class TaggedBatch(NamedTuple):
    """What was predicted for B images."""

    tokens: Tensor
    """(B, T, C) of the backbone."""
    predictions: list[Prediction]
    are_unlike: list[bool]
    """Whether each image is unlike those of the training."""


class BatchPredictor:
    """Tags batches of images with labels that are prepared once; on the GPU if there is one.

    It is pickled as its arguments: where it is unpickled, the checkpoint is read anew.

    Args:
        checkpoint: A .ckpt file of zsl.fit, or a folder or hub repository of `save_pretrained`.
        labels: Names to choose from; None takes the checkpoint's.
        texts: Texts of new labels: a file, or the name of a shipped one.
        top_k: Most labels of an image; None is 5, or with a threshold as many as reach it.
        threshold: Lowest score of a label.
        decide: Keeps the labels that reach their own thresholds, chosen for `f1`, or for example
            `precision=0.9`. Images that are unlike those of the training get none.
        raw: Gives the model's own scores in place of calibrated probabilities.
        trust_code: Whether classes outside of zsl that the checkpoint names may be imported.
        device: What it computes on; None takes the GPU if there is one.

    Attributes:
        tagger: The model.
        names: The L labels.
        prepared: What was prepared of them.

    Raises:
        InputError: The checkpoint, an option or a label can't be used.
    """

    def __init__(
        self,
        checkpoint: str,
        labels: Sequence[str] | None = None,
        texts: str | None = None,
        top_k: int | None = None,
        threshold: float | None = None,
        decide: str | None = None,
        raw: bool = False,
        trust_code: bool = False,
        device: str | None = None,
    ) -> None:
        options = (texts, top_k, threshold, decide, raw, trust_code, device)
        self._arguments = (checkpoint, labels, *options)
        self.tagger = Tagger.from_pretrained(checkpoint, trust_code)
        self.tagger.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        own_texts = None if texts is None else read_texts_of(labels or (), texts)
        if own_texts is not None:
            self.tagger.add_texts(own_texts)
        self.names, queries = self.tagger.embed(labels)
        self.prepared = self.tagger.prepare(queries, decide or "f1", raw)
        self._selection = self.tagger.selection(self.prepared, top_k, threshold, decide)
        self._options = {
            "labels": self.names,
            "texts": None if own_texts is None else text_digest([json.dumps(own_texts)]),
            "top_k": self._selection.top_k,
            "threshold": threshold,
            "decide": decide,
            "raw": raw,
        }

    def __reduce__(self) -> tuple[type[BatchPredictor], tuple[Any, ...]]:
        """Pickles the arguments alone."""
        return BatchPredictor, self._arguments

    def depends_on(self) -> dict[str, Any]:
        """Returns what its predictions depend on, plain values."""
        tagger = self.tagger
        settings = [tagger.model, tagger.image_size, asdict(tagger.resizing)]
        kinds = [tagger.scores_are_softmax, tagger.scores_are_probabilities]
        described = json.dumps([*settings, *kinds], sort_keys=True)
        parts = [described, weights_digest(tagger)]
        return {"checkpoint": text_digest(parts), **self._options}

    def batches(
        self, images: Sequence[ImageLike | ImageBytes], batch_size: int
    ) -> Iterator[ImageBatch]:
        """Yields images as the model sees them; threads read one batch ahead."""
        return image_batches(images, self.tagger.image_size, batch_size, self.tagger.resizing)

    def tag(self, images: Tensor) -> TaggedBatch:
        """Tags images uint8 (B, 3, S, S), one at least."""
        tokens = self.tagger.tokens(images)
        are_unlike = self.tagger.is_unlike(tokens).tolist()
        scores = self.tagger.score(tokens, self.prepared)
        predictions = self._selection.apply(*scores, self.names, are_unlike)
        return TaggedBatch(tokens, predictions, are_unlike)

    def rows(
        self,
        images: Sequence[ImageLike | ImageBytes],
        paths: Sequence[str],
        batch_size: int,
        draw: Callable[[int, Prediction, Tensor], None] | None = None,
    ) -> Iterator[list[Row]]:
        """Yields a row for each image, batch by batch; unreadable ones have an error in it.

        Args:
            images: The N images.
            paths: What the rows call each of them.
            batch_size: Images per batch.
            draw: Called for each image that has a label with its position, its prediction and its
                tokens (1, T, C).
        """
        start = 0
        for batch in self.batches(images, batch_size):
            count = len(batch.indices) + len(batch.problems)
            unreadable = sorted({*range(start, start + count)} - {*batch.indices})
            rows = {
                index: Row(paths[index], [], [], False, str(problem))
                for index, problem in zip(unreadable, batch.problems, strict=True)
            }
            if batch.indices:
                tokens, predictions, are_unlike = self.tag(batch.images)
                for index, own, prediction, is_unlike in zip(
                    batch.indices, tokens.split(1), predictions, are_unlike, strict=True
                ):
                    rows[index] = Row(paths[index], *prediction, is_unlike, None)
                    if draw is not None and prediction.labels:
                        draw(index, prediction, own)
            yield [rows[index] for index in range(start, start + count)]
            start += count

    def __call__(self, batch: Mapping[str, np.ndarray]) -> pa.Table:
        """Tags a batch of files, as `ray.data.read_binary_files(..., include_paths=True)` has them.

        Args:
            batch: `bytes`, the content of B files, and `path`, what to call each, both (B,).

        Returns:
            The columns image, labels, scores, unlike_training_images and error, of B rows.

        Raises:
            InputError: A column is missing.
        """
        for column in ("bytes", "path"):
            require(
                column in batch,
                f"The batch has no column {column!r} (found: {', '.join(batch)}); expected bytes "
                "and path, as ray.data.read_binary_files gives them with include_paths=True.",
            )
        paths = [str(path) for path in batch["path"]]
        contents = zip(batch["bytes"], paths, strict=True)
        images = [ImageBytes(bytes(content), path) for content, path in contents]
        return as_table(
            [row for rows in self.rows(images, paths, len(images) or 1) for row in rows]
        )
