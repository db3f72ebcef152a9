"""OpenImages V6 with its 9,605 trainable labels, and V4's zero-shot split of 7,186 and 400."""

from zsl.data.openimages.datamodule import OpenImagesDataModule

__all__ = ["OpenImagesDataModule"]
