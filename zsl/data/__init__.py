"""Images with multi-label targets, split into train, val and test."""

from zsl.data.coco import COCODataModule
from zsl.data.datamodule import MultiLabelDataModule
from zsl.data.dataset import Batch, MultiLabelDataset, Split
from zsl.data.feature_store import FeatureStore, FeatureWriter
from zsl.data.nuswide import NUSWideDataModule
from zsl.data.shapes import ShapesDataModule
from zsl.data.table import TableDataModule
from zsl.data.transforms import ImageConfig
from zsl.data.voc import VOCDataModule

__all__ = [
    "Batch",
    "COCODataModule",
    "FeatureStore",
    "FeatureWriter",
    "ImageConfig",
    "MultiLabelDataModule",
    "MultiLabelDataset",
    "NUSWideDataModule",
    "ShapesDataModule",
    "Split",
    "TableDataModule",
    "VOCDataModule",
]
