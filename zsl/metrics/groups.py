"""The groups of labels that are evaluated together: what they are called and what they mean."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

ZERO_SHOT_HEADLINE = ("mAP", "P@", "R@", "F1@")
FIXED = "all"
"""The group of fixed classes, all of which are trained."""
FIXED_HEADLINE = ("mAP", "OF1", "CF1", "OF1@", "CF1@", "Acc@")


class LabelGroup(NamedTuple):
    """How a group of labels is presented."""

    title: str
    meaning: str
    headline: tuple[str, ...] = ZERO_SHOT_HEADLINE
    """Its most important figures, those of K best labels without their K."""

    def has_in_headline(self, metric: str) -> bool:
        """Whether a figure such as `F1@3` is among the most important ones."""
        name, at, _ = metric.partition("@")
        return name + at in self.headline


_GROUPS = {
    "zsl": LabelGroup("ZSL", "the unseen labels alone"),
    "held_out": LabelGroup("held-out", "labels that selected the checkpoint: none is unseen"),
    "gzsl": LabelGroup("GZSL", "all labels together"),
    "seen": LabelGroup("seen", "the seen labels alone"),
    FIXED: LabelGroup("all labels", "all of them trained", FIXED_HEADLINE),
}
"""The groups of zero-shot learning and of fixed classes, by their names in logs and files."""


def untrained_group(groups: Collection[str]) -> str | None:
    """Returns the group of labels that were not trained, if it is among these."""
    return next((name for name in ("zsl", "held_out") if name in groups), None)


def label_group(name: str) -> LabelGroup:
    """Returns how a group is presented; one of another task has its name as title."""
    return _GROUPS.get(name, LabelGroup(name, ""))
