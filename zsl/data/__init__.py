"""Images with multi-label targets, split into train, val and test."""

from zsl.data.module import Batch, MultiLabelDataModule, MultiLabelDataset, Split
from zsl.data.nuswide import NUSWideDataModule
from zsl.data.shapes import ShapesDataModule
from zsl.data.table import TableDataModule

__all__ = [
    "Batch",
    "MultiLabelDataModule",
    "MultiLabelDataset",
    "NUSWideDataModule",
    "ShapesDataModule",
    "Split",
    "TableDataModule",
]
