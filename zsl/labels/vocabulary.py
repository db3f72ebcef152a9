"""Label names, each with the role it plays in zero-shot learning, ordered by role."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from itertools import accumulate
from pathlib import Path

from zsl.errors import InputError, did_you_mean, others, refuse_repeated, require, shorten
from zsl.files.tables import read_table, row_name


class Role(StrEnum):
    """What a label is used for.

    `SEEN` labels are trained. `HELD_OUT` labels are seen labels kept from training, on which
    checkpoints are selected. `UNSEEN` labels are met in the final test only.
    """

    SEEN = "seen"
    HELD_OUT = "held_out"
    UNSEEN = "unseen"


class Vocabulary:
    """Label names with their roles: seen, then held-out, then unseen ones.

    This is the order of the columns of every matrix of labels: targets, scores, label vectors.

    Args:
        names: Label names, all different, none empty; those of one role stay in this order.
        roles: The role of each name: `seen`, `held_out` or `unseen`.

    Attributes:
        names: The names, ordered by role.
        roles: The role of each.

    Raises:
        InputError: A name is empty or there twice, or a role is not one of the three.
    """

    def __init__(self, names: Sequence[str], roles: Sequence[str]) -> None:
        _check(names, roles, lambda index: f"label {index + 1}")
        pairs = list(zip(names, map(Role, roles), strict=True))
        ordered = [pair for role in Role for pair in pairs if pair[1] is role]
        self.names = [name for name, _ in ordered]
        self.roles = [role for _, role in ordered]
        self._position = {name: position for position, name in enumerate(self.names)}

    @classmethod
    def ordered(cls, names: Sequence[str], roles: Sequence[str]) -> Vocabulary:
        """Makes a vocabulary of names that are in its order, as their vectors and scores are.

        Raises:
            InputError: They are not.
        """
        vocabulary = cls(names, roles)
        require(vocabulary.names == list(names), "The label names are not ordered by role.")
        return vocabulary

    @classmethod
    def from_table(cls, path: str | Path) -> Vocabulary:
        """Reads a class file: CSV or Parquet with the columns `name` and `role`.

        The names are sorted, so that the order of the lines does not matter.

        Raises:
            InputError: The file is missing, lacks a column, or a line of it is wrong.
        """
        path = Path(path)
        table = read_table(path, ("name", "role"))
        names, roles = table["name"], table["role"]
        _check(names, roles, lambda row: row_name(path, row))
        ordered = sorted(zip(names, roles, strict=True))
        return cls([name for name, _ in ordered], [role for _, role in ordered])

    def __contains__(self, name: object) -> bool:
        """Whether the name is one of the labels."""
        return name in self._position

    def __len__(self) -> int:
        """Number of labels."""
        return len(self.names)

    def __eq__(self, other: object) -> bool:
        """Whether names, order and roles are the same."""
        if not isinstance(other, Vocabulary):
            return NotImplemented
        return self.names == other.names and self.roles == other.roles

    def __repr__(self) -> str:
        """Counts by role."""
        counts = ", ".join(f"{len(self.select(role))} {role.value}" for role in Role)
        return f"Vocabulary({len(self)} labels: {counts})"

    def columns(self, first: Role, last: Role | None = None) -> slice:
        """Positions of the labels with a role, or with those from `first` to `last`."""
        roles = list(Role)
        ends = list(accumulate(self.roles.count(role) for role in roles))
        begin = roles.index(first)
        return slice(ends[begin - 1] if begin else 0, ends[roles.index(last or first)])

    def select(self, *roles: Role) -> list[str]:
        """Names of the labels with the roles, role after role as given."""
        return [name for role in roles for name in self.names[self.columns(role)]]

    def indices(self, names: Sequence[str]) -> list[int]:
        """Positions of `names`.

        Raises:
            InputError: A name is not in the vocabulary; near matches are in the message.
        """
        if unknown := [name for name in dict.fromkeys(names) if name not in self]:
            raise InputError(
                f"The label {unknown[0]!r} is not in the vocabulary of {len(self)} labels."
                + did_you_mean(unknown[0], self.names)
                + others(unknown)
            )
        return [self._position[name] for name in names]

    def hold_out(self, candidates: Iterable[str], fraction: float, seed: int) -> Vocabulary:
        """Returns a vocabulary in which some of the seen labels are held out.

        Args:
            candidates: Seen labels to draw from.
            fraction: Fraction of all seen labels to hold out; at least one label is.
            seed: Seed of the draw, which does not depend on the order of names.

        Raises:
            InputError: There is no candidate, or no label would remain to train.
        """
        seen, pool = self.select(Role.SEEN), sorted(candidates)
        if len(seen) < 2 or not pool:
            raise InputError(
                f"Of {len(seen)} seen labels {len(pool)} can be held out for selection; at least "
                "two seen labels are needed, one of them with an image in the val split."
            )
        count = min(max(1, round(fraction * len(seen))), len(pool), len(seen) - 1)
        drawn = set(random.Random(seed).sample(pool, count))
        roles = [
            Role.HELD_OUT if name in drawn else role
            for name, role in zip(self.names, self.roles, strict=True)
        ]
        return Vocabulary(self.names, roles)


def _check(names: Sequence[str], roles: Sequence[str], where: Callable[[int], str]) -> None:
    """Refuses wrong names and roles; `where` says where the label at an index was found."""
    require(len(names) == len(roles), f"Found {len(names)} label names but {len(roles)} roles.")
    if empty := [where(index) for index, name in enumerate(names) if not name.strip()]:
        raise InputError(f"{empty[0]}: the label name is empty." + others(empty))
    if wrong := [index for index, role in enumerate(roles) if role not in list(Role)]:
        first, role = wrong[0], roles[wrong[0]]
        raise InputError(
            f"{where(first)}: the label {names[first]!r} has the role {role!r}; expected one of "
            f"{', '.join(Role)}."
            + did_you_mean(role, Role)
            + others([f"{names[index]} ({shorten(roles[index], 20)})" for index in wrong])
        )
    refuse_repeated(names, where)
