"""`python -m zsl.prepare features --config ...`: runs a frozen backbone once, keeps its tokens."""

from __future__ import annotations

import time
from pathlib import Path

import pytorch_lightning as pl
from torch import nn

from zsl.commands.fit_cli import make_run
from zsl.data import Batch, FeatureWriter, Split
from zsl.data.seeds import ViewSampler
from zsl.errors import InputError, require


class _KeepTokens(pl.LightningModule):
    """Hands the tokens of each batch to a writer."""

    def __init__(self, backbone: nn.Module, writer: FeatureWriter) -> None:
        super().__init__()
        self.backbone = backbone
        self.writer = writer

    def predict_step(self, batch: Batch) -> None:
        self.writer.write(self.backbone(batch["image"]))


def prepare_features(args: list[str]) -> None:
    """Writes the feature store `data.features` of these arguments of `zsl.fit`."""
    run = make_run(args)
    task, datamodule = run.model, run.datamodule
    features = datamodule.features
    if features is None:
        raise InputError(
            "data.features is not set; add --data.features FOLDER, where the store is written, and "
            "give the same to zsl.fit."
        )
    require(
        task.backbone.frozen,
        "model.backbone.frozen is false; only the tokens of a frozen backbone stay the same: set "
        "it true.",
    )
    datamodule.check_images(list(Split))
    trainer = pl.Trainer(
        accelerator=run.config.trainer.accelerator,
        precision=run.trainer.precision,
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    start = time.perf_counter()
    with FeatureWriter.create(features, task.backbone_recipe, datamodule.views) as writer:
        module = _KeepTokens(task.network.backbone, writer)
        for split in Split:
            num_views = datamodule.views["views"] if split is Split.TRAIN else 1
            varied = num_views > 1
            transform = datamodule.training_transform if varied else datamodule.evaluation_transform
            images = datamodule.dataset(split, transform)
            writer.begin(split, images, num_views)
            for view in range(num_views):
                loader = datamodule.loader(images, sampler=ViewSampler(images, view))
                trainer.predict(module, loader, return_predictions=False)
            more = f" in {num_views} views" if varied else ""
            print(f"{split}: {len(images):,} images{more}", flush=True)
    size = sum(path.stat().st_size for path in Path(features).iterdir()) / 1e9
    shape = " × ".join(str(side) for side in writer.record["token_shape"])
    print(
        f"Written to {features} in {time.perf_counter() - start:.0f} s: {size:.2f} GB, {shape} "
        "values an image, float16.\nNext: python -m zsl.fit with the same arguments."
    )
