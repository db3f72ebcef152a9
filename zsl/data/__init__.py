"""Images with multi-label targets, split into train, val and test."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zsl.data.cifar import CIFARDataModule
    from zsl.data.coco import COCODataModule
    from zsl.data.datamodule import MultiLabelDataModule
    from zsl.data.dataset import Batch, MultiLabelDataset
    from zsl.data.feature_store import FeatureStore
    from zsl.data.feature_writer import FeatureWriter
    from zsl.data.image_folder import ImageFolderDataModule
    from zsl.data.imagenet import ImageNetDataModule
    from zsl.data.nuswide import NUSWideDataModule
    from zsl.data.openimages import OpenImagesDataModule
    from zsl.data.shapes import ShapesDataModule
    from zsl.data.shards import ShardsDataModule
    from zsl.data.split import Split
    from zsl.data.stanford_cars import StanfordCarsDataModule
    from zsl.data.table import TableDataModule
    from zsl.data.transforms import ImageConfig
    from zsl.data.voc import VOCDataModule

__all__ = [
    "Batch",
    "CIFARDataModule",
    "COCODataModule",
    "FeatureStore",
    "FeatureWriter",
    "ImageConfig",
    "ImageFolderDataModule",
    "ImageNetDataModule",
    "MultiLabelDataModule",
    "MultiLabelDataset",
    "NUSWideDataModule",
    "OpenImagesDataModule",
    "ShapesDataModule",
    "ShardsDataModule",
    "Split",
    "StanfordCarsDataModule",
    "TableDataModule",
    "VOCDataModule",
]
_MODULES = (
    "cifar",
    "coco",
    "datamodule",
    "dataset",
    "feature_store",
    "feature_writer",
    "image_folder",
    "imagenet",
    "nuswide",
    "openimages",
    "shapes",
    "shards",
    "split",
    "stanford_cars",
    "table",
    "transforms",
    "voc",
)


def __getattr__(name: str) -> Any:
    """Imports all of them when one is used, so that `zsl.data.photographs` waits for none."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    for module in _MODULES:
        made = vars(import_module(f"{__name__}.{module}"))
        globals().update((key, made[key]) for key in __all__ if key in made)
    return globals()[name]
