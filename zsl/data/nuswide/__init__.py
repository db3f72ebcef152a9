"""NUS-WIDE, from the files people really have."""

from zsl.data.nuswide.datamodule import NUSWideDataModule

__all__ = ["NUSWideDataModule"]
