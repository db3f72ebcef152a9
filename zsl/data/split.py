"""The splits of a data set; by itself, since those who only name them need no torch."""

from enum import StrEnum


class Split(StrEnum):
    """Training, selection (held-out labels), final test (unseen labels)."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"
