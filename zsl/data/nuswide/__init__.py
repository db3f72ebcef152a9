"""NUS-WIDE, from the files people really have."""

from zsl.data.nuswide.module import NUSWideDataModule

__all__ = ["NUSWideDataModule"]
