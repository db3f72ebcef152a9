"""Images with multi-label targets, split into train, val and test."""

from zsl.data.cifar import CIFARDataModule
from zsl.data.coco import COCODataModule
from zsl.data.datamodule import MultiLabelDataModule
from zsl.data.dataset import Batch, MultiLabelDataset, Split
from zsl.data.feature_store import FeatureStore
from zsl.data.feature_writer import FeatureWriter
from zsl.data.image_folder import ImageFolderDataModule
from zsl.data.imagenet import ImageNetDataModule
from zsl.data.nuswide import NUSWideDataModule
from zsl.data.openimages import OpenImagesDataModule
from zsl.data.shapes import ShapesDataModule
from zsl.data.shards import ShardsDataModule
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
