"""Images with multi-label targets, split into train, val and test."""

from zsl.data.datamodule import MultiLabelDataModule
from zsl.data.dataset import Batch, MultiLabelDataset, Split
from zsl.data.feature_store import FeatureStore, FeatureWriter
from zsl.data.nuswide import NUSWideDataModule
from zsl.data.openimages import OpenImagesDataModule
from zsl.data.shapes import ShapesDataModule
from zsl.data.table import TableDataModule
from zsl.data.transforms import ImageConfig

__all__ = [
    "Batch",
    "FeatureStore",
    "FeatureWriter",
    "ImageConfig",
    "MultiLabelDataModule",
    "MultiLabelDataset",
    "NUSWideDataModule",
    "OpenImagesDataModule",
    "ShapesDataModule",
    "Split",
    "TableDataModule",
]
