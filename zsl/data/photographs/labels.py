"""Which tags become labels, and the role of each."""

from __future__ import annotations

import csv
import random
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from zsl.errors import InputError, did_you_mean, others, require
from zsl.labels.vocabulary import Role

HELD_OUT = "0.1"
"""Share of the labels that is held out, if nothing is said."""
_ENOUGH = 2
"""Test images that a drawn unseen label needs, and validation images that a held-out one needs."""


def count_tags(tags: Iterable[Collection[str]]) -> dict[str, int]:
    """Counts the images of each tag: the most frequent first, equally frequent ones by name."""
    counts = Counter(tag for own in tags for tag in set(own))
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def spellings(counts: Mapping[str, int]) -> list[list[str]]:
    """Groups tags that differ in case, spaces, hyphens or accents' encoding; more than one each."""
    groups: dict[str, list[str]] = defaultdict(list)
    for tag in counts:
        key = unicodedata.normalize("NFKC", tag).casefold()
        groups[re.sub(r"[\s_-]+", " ", key).strip()].append(tag)
    return [group for group in groups.values() if len(group) > 1]


def plurals(counts: Mapping[str, int]) -> list[list[str]]:
    """Pairs of tags of which one is the other with an s."""
    return [
        [tag, plural] for tag in counts for plural in (f"{tag}s", f"{tag}es") if plural in counts
    ]


def named_or_drawn(
    wanted: str,
    what: str,
    candidates: Sequence[str],
    labels: Sequence[str],
    seed: int,
    unseen: Collection[str] = (),
) -> list[str]:
    """Returns labels that a user names, or a share of all that is drawn.

    Args:
        wanted: Names with commas between them (in quotes where they have one), or a share from 0
            (none) to below 1.
        what: The option, for messages.
        candidates: Labels that may be drawn.
        labels: All labels that may be named.
        seed: Of the draw.
        unseen: Labels that are unseen already, and so not among these.

    Raises:
        InputError: A name is not a label, the share is out of range, or none can be drawn.
    """
    if wanted.strip() in labels:  # It may be a number, or have a comma.
        return [wanted.strip()]
    try:
        share = float(wanted)
    except ValueError:
        (cells,) = csv.reader([wanted], skipinitialspace=True)
        names = [name.strip() for name in cells if name.strip()]
        if both := [name for name in names if name in unseen]:
            raise InputError(
                f"{what}: {both[0]!r} is unseen already; leave it out here, or in --unseen."
                + others(both)
            ) from None
        if unknown := [name for name in names if name not in labels]:
            raise InputError(
                f"{what}: {unknown[0]!r} is not one of the {len(labels):,} labels."
                + did_you_mean(unknown[0], labels)
                + others(unknown)
            ) from None
        return names
    require(0 <= share < 1, f"{what} is {wanted}; expected names, or a share from 0 to below 1.")
    if not share:
        return []
    number = max(1, round(share * len(labels)))
    require(
        len(candidates) > 0,
        f"{what} is {wanted}, but no label is on {_ENOUGH} images, and not on all, of each "
        "split that it is measured on; name some labels, or set it to 0.",
    )
    return random.Random(seed).sample(sorted(candidates), min(number, len(candidates)))


def count_telling(tags: Sequence[Sequence[str]]) -> dict[str, int]:
    """As `count_tags`, without tags of all images: any scores find these."""
    return {tag: count for tag, count in count_tags(tags).items() if count < len(tags)}


def choose_roles(
    labels: Sequence[str],
    unseen: str,
    held_out: str | None,
    in_train: Mapping[str, int],
    in_val: Mapping[str, int],
    in_test: Mapping[str, int],
    seed: int,
) -> dict[str, Role]:
    """Gives each label its role.

    Args:
        labels: The labels, one or more.
        unseen: Names or a share of them, as `named_or_drawn` has it; empty for none.
        held_out: The same, of those that are left; None draws a tenth, if any can be drawn and
            two labels or more are left to train.
        in_train: Training images of labels.
        in_val: Validation images of labels, on which held-out ones are measured; a label that
            all of them have is not in it, since any scores find it.
        in_test: The same of test images, on which unseen ones are measured.
        seed: Of the draws.

    Raises:
        InputError: A name is not a label, or no label is left to train.
    """
    candidates = [label for label in labels if in_test.get(label, 0) >= _ENOUGH]
    roles = dict.fromkeys(labels, Role.SEEN)
    chosen = named_or_drawn(unseen or "0", "--unseen", candidates, labels, seed)
    roles |= dict.fromkeys(chosen, Role.UNSEEN)
    left = [label for label in labels if roles[label] is Role.SEEN]
    require(
        len(left) >= 2,
        f"Of {len(labels):,} labels {len(left)} would be left to train; two or more are needed, so "
        "name fewer of them unseen.",
    )
    candidates = [
        label
        for label in left
        if in_val.get(label, 0) >= _ENOUGH and (chosen or in_test.get(label, 0) >= _ENOUGH)
    ]
    if held_out is None:
        trained = [label for label in left if in_train.get(label, 0)]
        held_out = HELD_OUT if candidates and len(trained) > 2 else "0"
    of_seen = named_or_drawn(held_out, "--held_out", candidates, left, seed + 1, chosen)
    roles |= dict.fromkeys(of_seen, Role.HELD_OUT)
    seen = [label for label in labels if roles[label] is Role.SEEN and in_train.get(label, 0)]
    require(
        len(seen) >= 2,
        f"Of {len(labels):,} labels {len(seen)} would be left to train; two or more are needed, so "
        "name fewer of them unseen or held out.",
    )
    return roles


def describe_spellings(groups: Sequence[Sequence[str]], counts: Mapping[str, int]) -> str:
    """`'Dog' (12 images) and 'dog' (3)`, for several groups."""
    texts = []
    for group in groups[:10]:
        texts.append(" and ".join(f"{tag!r} ({counts[tag]:,})" for tag in group))
    more = f" and {len(groups) - 10:,} more" if len(groups) > 10 else ""
    return "; ".join(texts) + more
