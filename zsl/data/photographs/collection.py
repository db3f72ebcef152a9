"""Photographs with their tags: matched with their files, read, cleaned and divided."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zsl.data.photographs.image_names import ImageNames
from zsl.data.photographs.labels import count_tags, describe_spellings, plurals, spellings
from zsl.data.photographs.near_duplicates import duplicate_groups, look_at
from zsl.data.photographs.splitting import stratified_parts
from zsl.data.photographs.tables import TaggedImages
from zsl.data.split import Split
from zsl.errors import listing, require


@dataclass(frozen=True)
class Photographs:
    """N photographs and their tags.

    Raises:
        InputError: There is none.
    """

    files: list[str]
    """Paths below the folder, with forward slashes."""
    tags: list[list[str]]
    """The tags of each."""
    splits: list[str]
    """The split of each; empty where there is none yet."""
    groups: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """(N,), those that are nearly the same have one number; empty before they were read."""
    median_side: int = 0
    """Of the shorter sides, in pixels."""
    notes: list[str] = field(default_factory=list)
    """What a user should know."""

    def __post_init__(self) -> None:
        """Refuses an empty collection."""
        require(len(self.files) > 0, f"No photograph is left. {' '.join(self.notes)}")

    @property
    def labels_per_image(self) -> float:
        """The mean number of tags."""
        return sum(map(len, self.tags)) / len(self.tags)

    def select(self, rows: Sequence[int], *notes: str) -> Photographs:
        """Returns the photographs at these rows, with further notes."""
        return Photographs(
            [self.files[row] for row in rows],
            [self.tags[row] for row in rows],
            [self.splits[row] for row in rows] if self.splits else [],
            self.groups[list(rows)] if len(self.groups) else self.groups,
            self.median_side,
            [*self.notes, *notes],
        )

    def in_split(self, split: Split) -> list[list[str]]:
        """The tags of each photograph of a split."""
        pairs = zip(self.tags, self.splits, strict=True)
        return [tags for tags, own in pairs if own == split]

    def straddling(self) -> list[int]:
        """Rows of validation and test photographs that are nearly the same as one of training."""
        trained = {
            group
            for group, split in zip(self.groups, self.splits, strict=True)
            if split == Split.TRAIN
        }
        return [
            row
            for row, (group, split) in enumerate(zip(self.groups, self.splits, strict=True))
            if split != Split.TRAIN and group in trained
        ]


def match(found: TaggedImages, files: Sequence[str]) -> Photographs:
    """Finds the files of tagged images; notes what is missing, unlisted or unclear."""
    names = ImageNames(files)
    taken: dict[str, int] = {}
    missing: list[str] = []
    unclear: list[str] = []
    guessed: list[str] = []
    rows: list[int] = []
    for row, name in enumerate(found.names):
        meant = names.find(name)
        if len(meant) == 1 and meant[0] not in taken:
            taken[meant[0]] = row
            rows.append(row)
            if meant[0] != name:
                guessed.append(f"{name} is {meant[0]}")
        else:
            (unclear if meant else missing).append(name)
    notes = list(found.notes)
    if guessed:
        notes.append(f"{len(guessed):,} names differ from paths in the folder: {guessed[0]}.")
    if missing:
        notes.append(
            f"left out, not in the folder: {len(missing):,} of {len(found.names):,} listed images, "
            f"such as {missing[0]!r}."
        )
    if unclear:
        notes.append(
            f"left out, unclear: {len(unclear):,} names may mean several files, or the same as "
            f"another name, such as {unclear[0]!r}; write the path below the folder."
        )
    if unlisted := [file for file in files if file not in taken]:
        notes.append(
            f"left out, not listed: {len(unlisted):,} of {len(files):,} image files, such as "
            f"{unlisted[0]!r}."
        )
    splits = [found.splits[row] for row in rows] if found.splits else []
    return Photographs(list(taken), [found.tags[row] for row in rows], splits, notes=notes)


def without_untagged(photographs: Photographs) -> Photographs:
    """Leaves out photographs without a tag: that nobody tagged one doesn't say it shows nothing."""
    rows = [row for row, tags in enumerate(photographs.tags) if tags]
    if left_out := len(photographs.files) - len(rows):
        return photographs.select(rows, f"left out, without a tag: {left_out:,} images.")
    return photographs


def with_labels(photographs: Photographs, merge: bool, min_images: int) -> Photographs:
    """Leaves out rare tags; merges or notes other spellings of a tag.

    Args:
        photographs: Some with tags.
        merge: Merges tags that differ in case, spaces and hyphens, to the most frequent spelling.
        min_images: Images that a tag needs to be a label.
    """
    notes = []
    tags, counts = photographs.tags, count_tags(photographs.tags)
    if groups := spellings(counts):
        text = describe_spellings(groups, counts)
        if merge:
            names = {tag: group[0] for group in groups for tag in group}
            tags = [list(dict.fromkeys(names.get(tag, tag) for tag in own)) for own in tags]
            counts = count_tags(tags)
            notes.append(f"merged to the first: {text}; --merge_spellings false keeps them apart.")
        else:
            notes.append(f"perhaps the same tags: {text}; --merge_spellings true merges them.")
    if pairs := plurals(counts):
        notes.append(f"perhaps singular and plural: {describe_spellings(pairs, counts)}.")
    if rare := [tag for tag, count in counts.items() if count < min_images]:
        kept = set(counts) - set(rare)
        tags = [[tag for tag in own if tag in kept] for own in tags]
        notes.append(
            f"left out, on fewer than {min_images} images: {len(rare):,} of {len(counts):,} tags, "
            f"such as {listing(rare[:8])}; --min_images 1 keeps them."
        )
    require(
        len(counts) >= 2,
        f"There is one tag, {listing(counts)}; two are needed, such as one for the images that "
        "lack it.",
    )
    require(
        len(counts) - len(rare) >= 2,
        f"{len(counts) - len(rare)} tags are on {min_images} images or more; two are needed, so "
        f"lower --min_images. {' '.join(notes)}",
    )
    if common := [tag for tag, count in counts.items() if count == len(tags)]:
        notes.append(f"tags on every image, which tell nothing: {listing(common)}.")
    return replace(photographs, tags=tags, notes=[*photographs.notes, *notes])


def with_looks(photographs: Photographs, root: Path, num_workers: int) -> Photographs:
    """Reads all photographs; leaves out what can't be read, finds what is nearly the same."""
    looks = look_at([root / file for file in photographs.files], num_workers)
    rows = [row for row, look in enumerate(looks) if not look.problem]
    notes = []
    if lost := [row for row, look in enumerate(looks) if look.problem]:
        first = f"{photographs.files[lost[0]]} ({looks[lost[0]].problem})"
        notes.append(f"left out, unreadable: {len(lost):,} images, the first {first}.")
    kept = photographs.select(rows, *notes)
    looks = [looks[row] for row in rows]
    groups = duplicate_groups(looks)
    sizes = np.bincount(groups)
    num_alike = int(sizes[sizes > 1].sum())
    if num_alike:
        example = np.flatnonzero(groups == sizes.argmax())[:2]
        names = " and ".join(kept.files[row] for row in example)
        kept.notes.append(
            f"{num_alike:,} images are nearly the same as another one, such as {names}; a split "
            "that is drawn keeps them together."
        )
    side = int(np.median([min(look.size) for look in looks]))
    return replace(kept, groups=groups, median_side=side)


def with_splits(
    photographs: Photographs, val_fraction: float, test_fraction: float, seed: int
) -> Photographs:
    """Divides the photographs, unless they are; draws a split that is lacking from the training.

    Each split gets its share of every label; what is nearly the same stays together.
    """
    fractions = {Split.VAL: val_fraction, Split.TEST: test_fraction}
    given = set(photographs.splits)
    lacking = [split for split in fractions if split not in given]
    require(
        all(0 < fractions[split] < 1 for split in lacking) and sum(fractions.values()) < 1,
        f"--val_fraction {val_fraction} and --test_fraction {test_fraction}: expected above 0, and "
        "below 1 together.",
    )
    splits = list(photographs.splits) or [str(Split.TRAIN)] * len(photographs.files)
    rows = [row for row, split in enumerate(splits) if split == Split.TRAIN]
    require(len(rows) > 0, "No image has the split train; give some images that split.")
    if lacking:
        position = {tag: number for number, tag in enumerate(count_tags(photographs.tags))}
        labels = [[position[tag] for tag in photographs.tags[row]] for row in rows]
        shares = [1 - sum(fractions[s] for s in lacking), *(fractions[s] for s in lacking)]
        parts = stratified_parts(labels, photographs.groups[rows], shares, seed)
        for row, part in zip(rows, parts, strict=True):
            splits[row] = str([Split.TRAIN, *lacking][part])
    found = replace(photographs, splits=splits)
    for split in Split:
        require(
            split in splits,
            f"No image is left for the split {split}: {len(splits):,} images are too few, or "
            "nearly all the same.",
        )
    return found


def showing(tags: Sequence[Collection[str]], labels: Collection[str]) -> int:
    """Counts the images that show any of the labels."""
    wanted = set(labels)
    return sum(not wanted.isdisjoint(own) for own in tags)
