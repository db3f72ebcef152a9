"""What is read from a NUS-WIDE folder, whatever its layout."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

CONCEPTS = "ConceptsList/Concepts81.txt"
TRAIN_LIST = "ImageList/TrainImagelist.txt"
TEST_LIST = "ImageList/TestImagelist.txt"


@dataclass
class Listing:
    """All images with all their labels."""

    images: list[str]
    """Names as listed, with `/` as separator."""
    is_test: np.ndarray
    """bool (N,)."""
    names: list[str]
    """The L labels, sorted."""
    unseen: list[str]
    """The unseen labels of the published split; empty where no file names them."""
    targets: csr_matrix
    """int8 (N, L): 1 present, 0 absent, -1 unknown."""
    notes: list[str]
    """A sentence for each difference from the NUS-WIDE of the publications."""
    unseen_without_column: list[str] = field(default_factory=list)
    """Published unseen labels that are not labels of the table."""
    unmatched: list[str] = field(default_factory=list)
    """Images of the table that no official list has."""


@dataclass(frozen=True)
class FileStatus:
    """A file that a layout needs, as `zsl.prepare` lists it."""

    name: str
    found: str
    """`found`, `missing` or `81 of 81`."""
    use: str


class Layout(ABC):
    """The files of one layout below a root."""

    name: str

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sources: list[Path] = []
        """All files that were looked for; when one changes, the index is made again."""
        self.files: list[FileStatus] = []
        self.problem: str | None = None
        """Why the layout can't be read; None if it can be."""

    @abstractmethod
    def read(self) -> Listing:
        """Reads everything; raises an `InputError` where a file is wrong."""

    def find(self, name: str, use: str) -> Path | None:
        """Looks for a file where the archives put it, then below NUS-WIDE/, then in the root."""
        candidates = [self.root / name, self.root / "NUS-WIDE" / name, self.root / Path(name).name]
        self.sources += candidates
        path = next((path for path in candidates if path.is_file()), None)
        self.files.append(FileStatus(name, "found" if path else "missing", use))
        return path
