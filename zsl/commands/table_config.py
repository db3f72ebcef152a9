"""The config that `zsl.prepare table` writes: `table.yaml` with sizes and passes for the set."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from zsl.labels.vocabulary import Role

_SIZE, _LARGE_SIZE = 224, 288
_SEVERAL = 2.0
"""Labels an image: then things are small, and a larger image shows more of them."""
_LARGEST_BATCH, _LEAST_BATCH = 64, 8
_LEAST_STEPS = 10
"""A pass should have, if the batches aren't too small for that."""
_PASSES, _MOST_IMAGES = 8, 200_000
"""More passes gain nothing on 700 to 7,000 images; of large sets so many images are enough."""


_TEMPLATE = """\
data:
  class_path: zsl.data.TableDataModule
  init_args:
    root: {root}
    table: {table}
    classes: {classes}
    separator: {separator}
    # Training images that show an unseen label: keep trains on their other labels, drop leaves
    # them out.
    with_unseen: keep
    # {num_train:,} training images make {num_steps:,} steps a pass.
    batch_size: {batch_size}
    images:
      # {large} for large images of several things, else {small}; smaller ones are enlarged.
      # These have {median_side} pixels on their shorter side (median), {labels} labels each.
      size: {size}
model:
  encoder:
    class_path: zsl.labels.SentenceEncoder
    init_args:
      model: all-MiniLM-L6-v2
      scale: unit_variance
      # Texts that say what labels look like help most: texts.yaml, of a name and its texts a line.
      texts: null
  backbone:
    name: tf_efficientnet_lite0
    weights: packaged
    frozen: true
  head:
    num_groups: 20
    seen_span: true
    embed_dim: 256
    feedforward_dim: 512
  # A map that is solved in seconds; the decoder counts beside it as far as held-out labels say.
  closed_form:
    local_tokens: 8
    own_classes: true
  # Each label standardised by its scores on some training images, then against the seen labels.
  scores:
    sample: {sample}
    temperature: 0.5
  optimization:
    learning_rate: 1.0e-3
trainer:
  # {all_steps:,} steps in all; the checkpoint of the best pass is kept.
  max_epochs: {passes}
  log_every_n_steps: {log_every}
  logger:
    - class_path: pytorch_lightning.loggers.CSVLogger
      init_args:
        save_dir: runs
        name: {name}
checkpoint:
  # {reason}
  monitor: {monitor}
"""


class Schedule(NamedTuple):
    """How long a set is trained."""

    batch_size: int
    passes: int
    num_steps: int
    """In each pass."""


def schedule(num_train: int) -> Schedule:
    """Chooses batch size and passes by the number of training images."""
    batch_size = _LARGEST_BATCH
    while batch_size > _LEAST_BATCH and num_train < _LEAST_STEPS * batch_size:
        batch_size //= 2
    passes = min(_PASSES, max(2, round(_MOST_IMAGES / num_train)))
    return Schedule(batch_size, passes, max(1, num_train // batch_size))


def config_text(
    root: Path,
    output: Path,
    separator: str,
    roles: Collection[Role],
    num_train: int,
    median_side: int,
    labels_per_image: float,
) -> str:
    """Returns a config as text, with the reason for each value that was chosen.

    Args:
        root: Folder of the images.
        output: Folder of `labels.csv` and `classes.csv`.
        separator: The text between labels.
        roles: Those that labels have.
        num_train: Number of training images.
        median_side: Median of the images' shorter sides, in pixels.
        labels_per_image: Their mean number.
    """
    batch_size, passes, num_steps = schedule(num_train)
    has_held_out = Role.HELD_OUT in roles or Role.UNSEEN in roles
    is_large = median_side >= _LARGE_SIZE and labels_per_image >= _SEVERAL
    texts = {
        "root": str(root),
        "table": "labels.csv" if output == root else str(output / "labels.csv"),
        "classes": "classes.csv" if output == root else str(output / "classes.csv"),
        "separator": separator,
        "name": root.name or "photographs",
    }
    return _TEMPLATE.format(
        **{field: json.dumps(text) for field, text in texts.items()},
        num_train=num_train,
        num_steps=num_steps,
        batch_size=batch_size,
        passes=passes,
        all_steps=passes * num_steps,
        log_every=max(1, min(10, num_steps // 10)),
        large=_LARGE_SIZE,
        small=_SIZE,
        size=_LARGE_SIZE if is_large else _SIZE,
        median_side=median_side,
        labels=f"{labels_per_image:.1f}",
        sample=min(256, num_train),
        monitor="val/harmonic_mAP" if has_held_out else "val/seen/mAP",
        reason="A few held-out labels alone are a noisy judge; with the seen ones it is steadier."
        if has_held_out
        else "All labels are trained, so nothing else can select the checkpoint.",
    )
