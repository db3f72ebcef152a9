"""NUS-WIDE as its authors' archives unpack it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix, hstack, vstack

from zsl.data.nuswide.layout import CONCEPTS, TEST_LIST, TRAIN_LIST, FileStatus, Layout, Listing
from zsl.data.nuswide.text_files import (
    as_targets,
    read_both_lists,
    read_image_list,
    read_labels,
    read_names,
)
from zsl.errors import InputError

ALL_LIST = "ImageList/Imagelist.txt"


class OfficialLayout(Layout):
    """The folders ImageList, NUS_WID_Tags, ConceptsList and Groundtruth."""

    name = "official"

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.train_list = self.find(TRAIN_LIST, "training images")
        self.test_list = self.find(TEST_LIST, "test images")
        self.tag_names = self.find("NUS_WID_Tags/TagList1k.txt", "names of 1000 tags")
        self.concept_names = self.find(CONCEPTS, "names of 81 concepts")
        self.train_tags = self.find("NUS_WID_Tags/Train_Tags1k.dat", "tags, training")
        self.test_tags = self.find("NUS_WID_Tags/Test_Tags1k.dat", "tags, test")
        self.all_tags = self.all_list = None
        if not (self.train_tags and self.test_tags):
            self.all_tags = self.find("NUS_WID_Tags/AllTags1k.txt", "tags, all images")
        self.absent: list[str] = []
        """The first missing file of each incomplete ground truth."""
        self.tags = read_names(self.tag_names) if self.tag_names else []
        self.concepts = read_names(self.concept_names) if self.concept_names else []
        self.train_concepts = self._concept_files("TrainTestLabels", "_Train", "training")
        self.test_concepts = self._concept_files("TrainTestLabels", "_Test", "test")
        self.all_concepts: list[Path] = []
        if not (self.train_concepts and self.test_concepts):
            self.all_concepts = self._concept_files("AllLabels", "", "all")
        if self.all_tags or self.all_concepts:
            self.all_list = self.find(ALL_LIST, "the order of all images")
        self.tags81: dict[str, Path | None] = {"train": None, "test": None}
        if not (self.all_list and self.all_concepts):
            for split, files in (("train", self.train_concepts), ("test", self.test_concepts)):
                if not files:
                    self.tags81[split] = self.find(
                        f"NUS_WID_Tags/{split.capitalize()}_Tags81.txt",
                        f"concepts as tagged, {split}",
                    )
        self.problem = self._problem()

    def _concept_files(self, folder: str, suffix: str, images: str) -> list[Path]:
        """Finds the files of the ground truth in the concepts' order: all of them, or none."""
        paths = []
        for parent in ("Groundtruth", "NUS-WIDE/Groundtruth", "."):
            place = self.root / parent / folder
            candidates = [place / f"Labels_{name}{suffix}.txt" for name in self.concepts]
            self.sources += candidates
            paths = [path for path in candidates if path.is_file()]
            if paths:
                break
        name = f"Groundtruth/{folder}/Labels_*{suffix}.txt"
        found = f"{len(paths)} of {len(self.concepts)}" if paths else "missing"
        absent = [path for path in candidates if path not in set(paths)]
        if paths and absent:
            self.absent.append(str(absent[0].relative_to(self.root)))
        self.files.append(FileStatus(name, found, f"concepts, {images}"))
        return paths if len(paths) == len(self.concepts) else []

    def _problem(self) -> str | None:
        by_order = bool(self.all_list)
        needs = {
            TRAIN_LIST: self.train_list,
            TEST_LIST: self.test_list,
            "NUS_WID_Tags/TagList1k.txt": self.tag_names,
            CONCEPTS: self.concept_names,
            "NUS_WID_Tags/Train_Tags1k.dat": self.train_tags or (self.all_tags and by_order),
            "NUS_WID_Tags/Test_Tags1k.dat": self.test_tags or (self.all_tags and by_order),
            "Groundtruth/TrainTestLabels/Labels_*_Test.txt": self.test_concepts
            or (self.all_concepts and by_order)
            or self.tags81["test"],
        }
        missing = [name for name, path in needs.items() if not path]
        if not missing:
            return None
        if self.absent:
            missing[-1] += f" (first {self.absent[0]})"
        return (
            f"{self.root} is not a complete NUS-WIDE: it lacks {', '.join(missing)}; "
            "docs/nuswide.md says where to get what."
        )

    def read(self) -> Listing:
        """Reads lists, tags and ground truth; a tag that is a concept takes the ground truth."""
        if self.problem:
            raise InputError(self.problem)
        assert self.train_list
        assert self.test_list
        self.notes: list[str] = []
        train, test = read_both_lists(self.train_list, self.test_list)
        tags = vstack(
            [
                self._tags(self.train_tags, train, TRAIN_LIST),
                self._tags(self.test_tags, test, TEST_LIST),
            ],
            format="csc",
        )
        concepts = vstack(
            [
                self._concepts("train", self.train_concepts, train, TRAIN_LIST),
                self._concepts("test", self.test_concepts, test, TEST_LIST),
            ],
            format="csc",
        )
        only_tags = [row for row, name in enumerate(self.tags) if name not in set(self.concepts)]
        names = [self.tags[row] for row in only_tags] + self.concepts
        order = sorted(range(len(names)), key=names.__getitem__)
        return Listing(
            images=train + test,
            is_test=np.arange(len(train) + len(test)) >= len(train),
            names=[names[column] for column in order],
            unseen=self.concepts,
            targets=hstack([tags[:, only_tags], concepts], format="csc")[:, order].tocsr(),
            notes=self.notes,
        )

    def _targets(self, path: Path, width: int, images: list[str], images_of: str) -> csr_matrix:
        return as_targets(read_labels(path, width, images, images_of), path.name, self.notes)

    def _columns(self, paths: list[Path], images: list[str], images_of: str) -> csr_matrix:
        columns = [self._targets(path, 1, images, images_of) for path in paths]
        return hstack(columns, format="csr")

    def _tags(self, path: Path | None, images: list[str], images_of: str) -> csr_matrix:
        if path:
            return self._targets(path, len(self.tags), images, images_of)
        return self._every_tag[self._rows_of_all(images, images_of)]

    def _concepts(
        self, split: str, paths: list[Path], images: list[str], images_of: str
    ) -> csr_matrix:
        if paths:
            return self._columns(paths, images, images_of)
        if self.all_concepts and self.all_list:
            return self._every_concept[self._rows_of_all(images, images_of)]
        path = self.tags81[split]
        if path:
            self.notes.append(
                f"The 81 concepts of the {split} images are Flickr tags ({path.name}), not the "
                "ground truth: results can't be compared with any publication."
            )
            return self._targets(path, len(self.concepts), images, images_of)
        self.notes.append(
            f"The 81 concepts of the {split} images are unknown, since their ground truth is "
            "missing; they can be unseen labels but not seen ones."
        )
        return csr_matrix(np.full((len(images), len(self.concepts)), -1, dtype=np.int8))

    @cached_property
    def _every_image(self) -> list[str]:
        assert self.all_list
        return read_image_list(self.all_list)

    @cached_property
    def _every_tag(self) -> csr_matrix:
        assert self.all_tags
        return self._targets(self.all_tags, len(self.tags), self._every_image, ALL_LIST)

    @cached_property
    def _every_concept(self) -> csr_matrix:
        return self._columns(self.all_concepts, self._every_image, ALL_LIST)

    def _rows_of_all(self, images: list[str], images_of: str) -> list[int]:
        """Finds the rows of these images in the list of all."""
        position = {name: row for row, name in enumerate(self._every_image)}
        for line, image in enumerate(images, 1):
            if image not in position:
                raise InputError(
                    f"{images_of}, line {line}: {image} is not in {self.all_list}; the two lists "
                    "don't belong together."
                )
        return [position[image] for image in images]
