"""`python -m zsl.prepare features --config ...`: runs a frozen backbone once, keeps its tokens."""

from __future__ import annotations

import shlex
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from zsl.commands.fit_cli import without_trainer
from zsl.commands.launch import add_devices, launch
from zsl.commands.messages import refuse_near
from zsl.data import FeatureWriter, MultiLabelDataModule, Split
from zsl.data.seeds import ViewSampler
from zsl.errors import program, require
from zsl.process_group import ProcessGroup
from zsl.tasks import Task


def prepare_features(args: list[str]) -> None:
    """Writes the feature store `data.features` of these arguments of `zsl.fit`."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    add_devices(parser)
    options, fit_args = parser.parse_known_args(args)
    refuse_near(fit_args, ["devices", "nodes", "accelerator"])
    group = launch(options)
    with group.first_goes_ahead():
        data, task, settings = without_trainer(fit_args)
        _check(data, task)
    if group.size > 1:
        settings["accelerator"] = group.accelerator
    tokens_of = _tokens_of(task, Fabric(devices=group.devices, **settings))
    if not group.is_first:
        _write_splits(data, tokens_of, None, group)
        return
    start = time.perf_counter()
    folder = Path(data.features or "")
    with FeatureWriter.create(folder, task.backbone_recipe, data.views) as writer:
        _write_splits(data, tokens_of, writer, group)
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e9
    shape = " × ".join(str(side) for side in writer.record["token_shape"])
    print(
        f"Written to {folder} in {time.perf_counter() - start:.0f} s: {size:.2f} GB, {shape} "
        f"values an image, float16.\nNext: {program('fit')} {shlex.join(fit_args)}"
    )


def _check(data: MultiLabelDataModule, task: Task) -> None:
    require(
        data.features is not None,
        "data.features is not set; add --data.features FOLDER, where the store is written, and "
        "give the same to the training.",
    )
    require(
        task.backbone.frozen,
        "model.backbone.frozen is false; only the tokens of a frozen backbone stay the same: set "
        "it true.",
    )
    data.check_images(list(Split))


def _write_splits(
    data: MultiLabelDataModule,
    tokens_of: Callable[[DataLoader[Any]], Iterator[Tensor]],
    writer: FeatureWriter | None,
    group: ProcessGroup,
) -> None:
    """Makes all tokens on all processes; the first one, which has the writer, writes them."""
    for split in Split:
        num_views = data.views["views"] if split is Split.TRAIN else 1
        transform = data.training_transform if num_views > 1 else data.evaluation_transform
        images = data.dataset(split, transform)
        done = writer.begin(split, images, num_views, data.batch_size) if writer else 0
        done = group.of_first(done)
        with tqdm(
            desc=split,
            total=num_views * len(images),
            initial=done,
            unit=" images",
            disable=not group.is_first,
        ) as progress:
            for view in range(done // len(images), num_views):
                rest = ViewSampler(images, view, max(0, done - view * len(images)))
                loader = data.ordered_loader(images, group.size, group.rank, images=rest)
                for tokens in group.in_order(tokens_of(loader)):
                    assert writer
                    writer.write(tokens)
                    progress.update(len(tokens))
        more = f" in {num_views} views" if num_views > 1 else ""
        print(f"{split}: {len(images):,} images{more}", flush=True)


def _tokens_of(task: Task, fabric: Fabric) -> Callable[[DataLoader[Any]], Iterator[Tensor]]:
    """Returns what yields the tokens (B, T, C) of each batch, on the CPU."""
    backbone = fabric.setup_module(task.network.backbone.eval())

    def tokens_of(loader: DataLoader[Any]) -> Iterator[Tensor]:
        for batch in loader:
            with torch.inference_mode():
                yield backbone(batch["image"].to(fabric.device)).cpu()

    return tokens_of
