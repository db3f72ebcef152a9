"""The groups of labels that are evaluated together: what they are called and what they mean."""

from __future__ import annotations

from typing import NamedTuple


class LabelGroup(NamedTuple):
    """How a group of labels is presented."""

    title: str
    meaning: str


_GROUPS = {
    "zsl": LabelGroup("ZSL", "the unseen labels alone"),
    "gzsl": LabelGroup("GZSL", "all labels together"),
    "seen": LabelGroup("seen", "the seen labels alone"),
}
"""The groups of zero-shot learning, by their names in logs and files."""


def label_group(name: str) -> LabelGroup:
    """Returns how a group is presented; one of another task has its name as title."""
    return _GROUPS.get(name, LabelGroup(name, ""))
