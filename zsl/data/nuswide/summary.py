"""What `zsl.prepare` tells about a copy of NUS-WIDE."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from zsl.data.nuswide.index import NUSWideIndex, State
from zsl.data.nuswide.layout import Layout

SAME_BYTES = 5
"""What so many files share byte by byte is hardly a photograph."""


def files_table(layout: Layout) -> str:
    """The files of a layout: found or missing, and what they hold."""
    rows = [[file.name, file.found, file.use] for file in layout.files]
    return _table(["file", "state", "holds"], rows, "<<<")


def suspicious_files(checks: pd.DataFrame) -> list[str]:
    """Files that are hardly photographs: of one colour, or one of many with the same bytes.

    Flickr serves such placeholders in place of photographs that were deleted.

    Args:
        checks: What `check_images` returns.
    """
    readable = checks[checks["problem"] == ""]
    copies = readable.groupby("content")["file"].transform("size")
    return sorted(readable.loc[readable["is_flat"] | (copies >= SAME_BYTES), "file"])


def images_table(index: NUSWideIndex, suspicious: Sequence[str]) -> str:
    """How many images are listed, and what became of them, for training and test."""
    is_test = np.asarray(index.is_test, dtype=bool)
    states = {state.name.lower(): index.state == state for state in State}
    images = np.array(index.images.to_pylist(), dtype=object)
    masks = {
        "listed": np.ones(len(index), dtype=bool),
        **states,
        "suspicious": np.isin(images, list(suspicious)) & states["present"],
    }
    rows = [
        [name, f"{(mask & ~is_test).sum():,}", f"{(mask & is_test).sum():,}"]
        for name, mask in masks.items()
    ]
    return _table(["images", "training", "test"], rows, "<>>")


def class_counts(index: NUSWideIndex) -> pd.DataFrame:
    """For each label its role in the published split, and its images: `name, role, train, test`.

    A missing image counts: these are the numbers of the lists.
    """
    is_test = np.asarray(index.is_test, dtype=bool)
    unseen = set(index.unseen)
    return pd.DataFrame(
        {
            "name": index.names,
            "role": ["unseen" if name in unseen else "seen" for name in index.names],
            "train": index.present[~is_test].sum(axis=0).A1,
            "test": index.present[is_test].sum(axis=0).A1,
        }
    )


def labels_table(index: NUSWideIndex, counts: pd.DataFrame) -> str:
    """Labels of each role for training and test: how many there are, and of how many images."""
    is_test = np.asarray(index.is_test, dtype=bool)
    rows = []
    for role in ("seen", "unseen"):
        own = counts[counts["role"] == role]
        for split, mask in (("train", ~is_test), ("test", is_test)):
            present = index.present[mask][:, own.index]
            unknown = index.unknown[mask][:, own.index]
            with_any = int((present.getnnz(axis=1) > 0).sum())
            rows.append(
                [
                    f"{len(own)} {role}, {split}",
                    f"{present.nnz:,}",
                    f"{with_any:,}",
                    f"{int((own[split] == 0).sum()):,}",
                    f"{unknown.nnz / max(1, unknown.shape[0] * unknown.shape[1]):.1%}",
                ]
            )
    header = ["labels", "given", "images with one", "labels without image", "unknown"]
    return _table(header, rows, "<>>>>")


def extremes(counts: pd.DataFrame, number: int = 4) -> str:
    """The most and the least frequent labels: seen ones in training, unseen ones in the test."""
    lines = []
    for role, split in (("seen", "train"), ("unseen", "test")):
        own = counts[counts["role"] == role].sort_values([split, "name"], ascending=[False, True])
        for word, part in (("most", own.head(number)), ("least", own.tail(number))):
            named = ", ".join(
                f"{name} {count:,}" for name, count in zip(part["name"], part[split], strict=True)
            )
            lines.append(f"{word} frequent {role} labels ({split}): {named}")
    return "\n".join(lines)


def _table(header: list[str], rows: list[list[str]], alignment: str) -> str:
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = []
    for row in [header, *rows]:
        cells = zip(row, alignment, widths, strict=True)
        lines.append("  ".join(f"{cell:{side}{width}}" for cell, side, width in cells).rstrip())
    return "\n".join(lines)
