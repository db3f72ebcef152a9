"""NUS-WIDE, read from any of the layouts in which copies of it are passed on."""

from zsl.data.nuswide.datamodule import NUSWideDataModule

__all__ = ["NUSWideDataModule"]
