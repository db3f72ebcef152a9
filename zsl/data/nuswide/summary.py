"""What `zsl.prepare` tells about a copy of NUS-WIDE."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from zsl.data.nuswide.index import NUSWideIndex, State
from zsl.data.nuswide.layout import Layout
from zsl.files.output_text import aligned

SAME_BYTES = 5
"""This many files with the same bytes are placeholders rather than images."""
_EXTREMES = 4
"""Labels that are named of the most frequent ones, and of the least frequent."""


def files_table(layout: Layout) -> str:
    """Lists the files of a layout: found or missing, and what they hold."""
    rows = [[file.name, file.found, file.use] for file in layout.files]
    return aligned([["file", "state", "holds"], *rows], num_left=3)


def suspicious_files(checks: pd.DataFrame) -> list[str]:
    """Lists the images that may be placeholders: of one colour, or one of many with the same bytes.

    Flickr serves such placeholders in place of images that were deleted.

    Args:
        checks: What `check_images` returns.
    """
    readable = checks[checks["problem"] == ""]
    copies = readable.groupby("content")["file"].transform("size")
    return sorted(readable.loc[readable["is_flat"] | (copies >= SAME_BYTES), "file"])


def images_table(index: NUSWideIndex, suspicious: Sequence[str]) -> str:
    """Counts the listed images by state, for training and test."""
    is_test = np.asarray(index.is_test, dtype=bool)
    states = {state.name.lower(): index.state == state for state in State}
    images = np.array(index.images.to_pylist(), dtype=object)
    masks = {
        "listed": np.ones(len(index), dtype=bool),
        **states,
        "suspicious": np.isin(images, list(suspicious)) & states["present"],
    }
    counts = {
        "training": {name: (mask & ~is_test).sum() for name, mask in masks.items()},
        "test": {name: (mask & is_test).sum() for name, mask in masks.items()},
    }
    return pd.DataFrame(counts).rename_axis(columns="images").map("{:,}".format).to_string()


def class_counts(index: NUSWideIndex) -> pd.DataFrame:
    """Counts the images of each label, with its published role: `name, role, train, test`.

    Missing images count: these are the numbers of the lists.
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
    """Counts labels and images for each role and split."""
    is_test = np.asarray(index.is_test, dtype=bool)
    rows = {}
    for role in ("seen", "unseen"):
        own = counts[counts["role"] == role]
        for split, mask in (("train", ~is_test), ("test", is_test)):
            present = index.present[mask][:, own.index]
            unknown = index.unknown[mask][:, own.index]
            with_any = int((present.getnnz(axis=1) > 0).sum())
            rows[f"{len(own)} {role}, {split}"] = {
                "given": f"{present.nnz:,}",
                "images with one": f"{with_any:,}",
                "labels without image": f"{int((own[split] == 0).sum()):,}",
                "unknown": f"{unknown.nnz / max(1, unknown.shape[0] * unknown.shape[1]):.1%}",
            }
    frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis(columns="labels")
    return frame.to_string(col_space=[len(str(name)) + 1 for name in frame])


def extremes(counts: pd.DataFrame) -> str:
    """Names the most and the least frequent labels: seen in training, unseen in the test."""
    lines = []
    for role, split in (("seen", "train"), ("unseen", "test")):
        own = counts[counts["role"] == role].sort_values([split, "name"], ascending=[False, True])
        for word, part in (("most", own.head(_EXTREMES)), ("least", own.tail(_EXTREMES))):
            named = ", ".join(
                f"{name} {count:,}" for name, count in zip(part["name"], part[split], strict=True)
            )
            lines.append(f"{word} frequent {role} labels ({split}): {named}")
    return "\n".join(lines)
