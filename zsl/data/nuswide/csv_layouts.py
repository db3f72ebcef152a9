"""NUS-WIDE as others pass it on: one CSV with the labels of all images."""

from __future__ import annotations

import csv
import json
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.errors import ParserError, ParserWarning
from scipy.sparse import csr_matrix, vstack

from zsl.data.nuswide.image_names import match, normalise
from zsl.data.nuswide.layout import CONCEPTS, TEST_LIST, TRAIN_LIST, Layout, Listing
from zsl.data.nuswide.text_files import as_targets, read_both_lists, read_names
from zsl.errors import InputError, did_you_mean, reason_of, refuse_repeated
from zsl.files.tables import other_rows, row_name

BENCHMARK = "benchmark_81_v0.json"
SPLITS = {"train": False, "val": True, "test": True}
"""Whether a split, as a table names it, belongs to the test."""
_ROWS_AT_ONCE = 8192


def table_layout(root: Path, path: Path) -> TableLayout:
    """Finds out which of the two kinds of table a CSV is.

    Raises:
        InputError: It is missing or empty, or neither of the two.
    """
    if not path.is_file():
        raise InputError(
            f"The table {path} does not exist; set table to a CSV below {root}, or to null for "
            "the official files."
        )
    try:
        head = pd.read_csv(path, dtype=str, nrows=1, keep_default_na=False)
    except (ValueError, OSError) as error:
        raise InputError(f"{path} can't be read as a CSV: {reason_of(error)}") from error
    if head.empty:
        raise InputError(f"{path} has no rows below its header.")
    with path.open(newline="", encoding="utf-8-sig") as file:
        columns = next(csv.reader(file))
    # pandas would rename the second.
    refuse_repeated(columns, lambda column: f"{path}, column {column + 1}")
    if len(columns) in (2, 3) and str(head.iloc[0, 1]).strip().startswith("["):
        return LabelListTable(root, path, columns, columns[2] if len(columns) == 3 else None)
    if len(columns) > 2 and columns[0] == "image_id":
        return ConceptColumnTable(root, path, columns, "split" if "split" in columns else None)
    raise InputError(
        f"{path} begins with the columns {', '.join(columns[:4])}; expected ML-Decoder's three "
        "(a path, labels as [a, b], train or val), or image_id and a column of 0 and 1 for each "
        "concept."
    )


class TableLayout(Layout):
    """What both kinds of table share: the split, the unseen labels, the checks.

    Args:
        root: The folder.
        path: The CSV.
        columns: Its header.
        split_column: The column that says train or test; None takes the official lists.
    """

    def __init__(
        self, root: Path, path: Path, columns: Sequence[str], split_column: str | None
    ) -> None:
        super().__init__(root)
        self.path, self.columns, self.split_column = path, list(columns), split_column
        self.find(path.name if path.parent == root else str(path), "all labels")
        self.benchmark = self.find(BENCHMARK, "the names of the unseen labels")
        self.concept_names = None if self.benchmark else self.find(CONCEPTS, "the same")
        self.lists: list[Path | None] = []
        if split_column is None:
            self.lists.append(self.find(TRAIN_LIST, "training images"))
            self.lists.append(self.find(TEST_LIST, "test images"))
        if None in self.lists:
            self.problem = (
                f"{path} does not say which images are for the test: it has no column with "
                f"train and test, and {root} lacks {TRAIN_LIST} or {TEST_LIST}; add both, or a "
                "column named split."
            )

    @abstractmethod
    def _read_table(self) -> tuple[list[str], list[str], list[str], csr_matrix]:
        """Reads images, their splits (empty without a column), names and targets."""

    def _chunks(self, dtype: str | dict[str, str]) -> Iterator[pd.DataFrame]:
        """Reads the table in parts; a row longer than the header is an error, not cut off."""
        with warnings.catch_warnings():
            warnings.simplefilter("error", ParserWarning)
            try:
                yield from pd.read_csv(
                    self.path,
                    dtype=dtype,
                    keep_default_na=False,
                    skip_blank_lines=False,
                    index_col=False,
                    chunksize=_ROWS_AT_ONCE,
                )
            except (ParserError, ParserWarning, UnicodeDecodeError) as error:
                raise InputError(
                    f"{self.path} can't be read as a CSV: {reason_of(error)}"
                ) from error

    def read(self) -> Listing:
        """Reads the table, and the lists beside it where the table lacks something."""
        if self.problem:
            raise InputError(self.problem)
        self.notes: list[str] = []
        images, splits, names, targets = self._read_table()
        if empty := [row for row, image in enumerate(images) if not image]:
            raise InputError(
                f"{row_name(self.path, empty[0])}: the image is not named."
                + other_rows(self.path, empty)
            )
        refuse_repeated(images, lambda row: row_name(self.path, row))
        if wrong := [row for row, split in enumerate(splits) if split not in SPLITS]:
            split = splits[wrong[0]]
            raise InputError(
                f"{row_name(self.path, wrong[0])}: the split is {split!r}; expected one of "
                f"{', '.join(SPLITS)}.{did_you_mean(split, SPLITS)}"
                + other_rows(self.path, wrong, splits)
            )
        order = sorted(range(len(names)), key=names.__getitem__)
        unseen = self._unseen()
        listing = Listing(
            images=images,
            is_test=np.array([SPLITS[split] for split in splits], dtype=bool),
            names=[names[column] for column in order],
            unseen=[name for name in unseen if name in set(names)],
            targets=targets[:, order],
            notes=self.notes,
            unseen_without_column=[name for name in unseen if name not in set(names)],
        )
        return listing if splits else self._split_by_lists(listing)

    def _unseen(self) -> list[str]:
        if self.concept_names:
            return read_names(self.concept_names)
        if not self.benchmark:
            return []
        try:
            return [str(name) for name in json.loads(self.benchmark.read_bytes())["test class"]]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f'{self.benchmark} can\'t be read; expected {{"test class": [names]}}.'
            ) from error

    def _split_by_lists(self, listing: Listing) -> Listing:
        """Takes from the official lists which images belong to the test."""
        train, test = read_both_lists(*(path for path in self.lists if path))
        found = match(listing.images, train + test).position
        kept = np.flatnonzero(found >= 0)
        unmatched = [listing.images[row] for row in np.flatnonzero(found < 0)]
        if unmatched:
            listing.notes.append(
                f"{len(unmatched):,} of {len(found):,} rows of {self.path.name} are of images "
                f"that no official list has and are left out, the first is {unmatched[0]}."
            )
        return replace(
            listing,
            images=[listing.images[row] for row in kept],
            is_test=found[kept] >= len(train),
            targets=listing.targets[kept],
            unmatched=unmatched,
        )


class LabelListTable(TableLayout):
    """ML-Decoder's data.csv: paths, labels as `[a, b]`, and train or val."""

    name = "ML-Decoder's table"

    def _read_table(self) -> tuple[list[str], list[str], list[str], csr_matrix]:
        table = pd.concat(self._chunks("str"))
        images = [normalise(cell) for cell in table.iloc[:, 0]]
        texts = [cell.strip() for cell in table.iloc[:, 1]]
        if wrong := [row for row, text in enumerate(texts) if text[:1] + text[-1:] != "[]"]:
            raise InputError(
                f"{row_name(self.path, wrong[0])}: the labels are {texts[wrong[0]]!r}; expected "
                f"[a, b]." + other_rows(self.path, wrong, texts)
            )
        cells = [[name.strip(" '\"") for name in text.strip(" []").split(",")] for text in texts]
        given = {name for cell in cells for name in cell if name}
        unseen = self._unseen()
        if absent := [name for name in unseen if name not in given]:
            self.notes.append(
                f"{len(absent)} unseen labels have no image: {', '.join(absent[:5])}."
            )
        names = sorted(given | set(unseen))
        position = {name: column for column, name in enumerate(names)}
        labels = [sorted({position[name] for name in cell if name}) for cell in cells]
        offsets = np.cumsum([0, *map(len, labels)])
        columns = np.array([column for row in labels for column in row], dtype=np.int64)
        present = np.ones(len(columns), dtype=np.int8)
        targets = csr_matrix((present, columns, offsets), shape=(len(images), len(names)))
        splits = [] if self.split_column is None else table[self.split_column].str.strip().tolist()
        return images, splits, names, targets


class ConceptColumnTable(TableLayout):
    """A table with the column `image_id` and one for each concept."""

    name = "table of concept columns"

    def _read_table(self) -> tuple[list[str], list[str], list[str], csr_matrix]:
        names = [name for name in self.columns[1:] if name != self.split_column]
        texts = [name for name in self.columns if name not in names]
        images: list[str] = []
        splits: list[str] = []
        parts = []
        try:
            dtype = dict.fromkeys(names, "float32") | dict.fromkeys(texts, "str")
            for chunk in self._chunks(dtype):
                values = chunk[names].to_numpy()
                if not np.isin(values, (-1, 0, 1)).all():
                    raise ValueError
                parts.append(csr_matrix(values.astype(np.int8)))
                images += [normalise(cell) for cell in chunk[self.columns[0]]]
                splits += chunk[self.split_column].str.strip().tolist() if self.split_column else []
        except ValueError as error:
            raise InputError(self._first_mistake(names)) from error
        values = vstack(parts, format="csr")
        return images, splits, names, as_targets(values, self.path.name, self.notes)

    def _first_mistake(self, names: list[str]) -> str:
        """Reads the table as text, which is slow, to say where the mistake is."""
        for chunk in self._chunks(dict.fromkeys(self.columns, "str")):
            is_wrong = ~chunk[names].isin(["-1", "0", "1", "-1.0", "0.0", "1.0"]).to_numpy()
            if is_wrong.any():
                row, column = np.argwhere(is_wrong)[0]
                return (
                    f"{row_name(self.path, int(chunk.index[row]))}: the value of {names[column]!r} "
                    f"is {chunk[names].iat[row, column]!r}; expected -1, 0 or 1."
                )
        return f"{self.path} holds something else than -1, 0 and 1."
