"""What one visitor of the page has open: images, words, answers, and the tags they accept."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from zsl.demo_page.answers import ImageAnswers, IndexedImages, Seen, ask, see
from zsl.errors import InputError, require, shorten
from zsl.files.image_paths import find_images
from zsl.files.sidecars import write_sidecar
from zsl.inference.build_index import index_name
from zsl.inference.heat_maps import common_folder
from zsl.inference.image_batches import image_batches
from zsl.inference.tagger import Tagger

MAX_IMAGES = 2000
"""That one visitor has open: what is kept of each takes a tenth of a megabyte or more of memory."""
MAX_INDEXED = 100_000
"""The same where it is kept on disk."""
MAX_WORDS = 1000
MAX_LETTERS = 200
_BATCH = 16
_INDEXED_AT_ONCE = 1000


def split_words(text: str) -> list[str] | None:
    """Splits what was typed at commas and line ends; None if there is no word in it.

    A word that is there twice counts once. Unlike the command line, nothing is read from a file.

    Raises:
        InputError: There are too many words, or one is too long.
    """
    words = list(dict.fromkeys(" ".join(word.split()) for word in re.split(r"[,\n]", text)))
    words = [word for word in words if word]
    require(
        len(words) <= MAX_WORDS,
        f"There are {len(words):,} words; ask at most {MAX_WORDS:,} at a time.",
    )
    for word in words:
        require(
            len(word) <= MAX_LETTERS,
            f"The word {shorten(word, 60)!r} has {len(word):,} characters; expected at most "
            f"{MAX_LETTERS}. Put commas between words.",
        )
    return words or None


def folder_images(text: str, roots: Sequence[Path]) -> list[Path]:
    """Lists the images of a folder that a visitor names.

    Args:
        text: Path of the folder; relative to the first root that has it.
        roots: The folders that may be read.

    Raises:
        InputError: The folder is not in one of the roots, wherever its links lead, or has no image.
    """
    asked = os.path.expanduser(text.strip() or ".")
    for root in roots:
        try:
            folder = (root / asked).resolve()
        except (OSError, RuntimeError, ValueError):  # Links in a circle, or a zero byte.
            continue
        # What is outside is not told apart from what is not there.
        if folder.is_relative_to(root.resolve()) and os.path.isdir(folder):
            return find_images([str(folder)])
    shown = ", ".join(str(root) for root in roots)
    raise InputError(
        f"There is no folder {asked} among those that this page may read; expected one in {shown}."
    )


def uploaded_images(files: Sequence[str], folder: Path) -> list[Path]:
    """Checks that files were uploaded: a visitor's program may name any.

    Args:
        files: Paths as the visitor's browser sent them.
        folder: The folder of uploads.

    Raises:
        InputError: One is elsewhere.
    """
    paths = [Path(file) for file in files]
    for path in paths:
        require(
            path.resolve().is_relative_to(folder.resolve()),
            f"The file {path.name} was not uploaded; drop it on the page.",
        )
    return paths


_Looking = Generator[str, None, tuple[list[Path], list[str], dict[str, Iterable[Seen]]]]
"""Yields the progress; returns the readable images, what is wrong with others, and what is seen."""


class Session:
    """Images of a visitor and what the checkpoints answer.

    Args:
        taggers: One or two, by the names that are shown; shared by all visitors.
        can_write: Whether sidecars may be written beside images of folders.
        index: Folder that keeps what the taggers make of images of folders; None keeps it in
            memory, for as long as the images are open.

    Attributes:
        paths: Files of the N readable images.
        names: What they are called on the page: paths within their folder, or names of uploads.
        main: Name of the tagger whose answers sort the images and are written.
        answers: Of each tagger; empty until images are open.
        chosen: Position of the image that is shown in full.
        sorted_by: The word by which images are sorted; None leaves them as they came.
    """

    def __init__(
        self, taggers: Mapping[str, Tagger], can_write: bool, index: Path | None = None
    ) -> None:
        self.taggers = taggers
        self.main = next(iter(taggers))
        self.paths: list[Path] = []
        self.names: list[str] = []
        self.answers: dict[str, ImageAnswers] = {}
        self.chosen = 0
        self.sorted_by: str | None = None
        self._can_write = can_write
        self._index = index
        self._seen: dict[str, Iterable[Seen]] = {}
        self._has_folder = False
        self._own_choices: dict[tuple[int, str], bool] = {}

    @property
    def can_write(self) -> bool:
        """Whether the images lie in a folder beside whose files sidecars may be written."""
        return self._can_write and self._has_folder and bool(self.answers)

    def open(self, paths: Sequence[Path], is_folder: bool) -> Iterator[str]:
        """Reads images in the place of earlier ones, which stay if it fails; yields the progress.

        The last sentence says how many were opened, and what is wrong with the others.

        Raises:
            InputError: There are too many images, or none can be read.
        """
        is_indexed = self._index is not None and is_folder
        most = MAX_INDEXED if is_indexed else MAX_IMAGES
        require(
            0 < len(paths) <= most,
            f"There are {len(paths):,} images; open 1 to {most:,} at a time.",
        )
        if is_indexed:
            kept, problems, seen = yield from self._look_up(paths)
        else:
            kept, problems, seen = yield from self._look_at(paths)
        self.paths = kept
        self._seen = seen
        self._has_folder = is_folder
        self.names = [path.name for path in self.paths]
        if is_folder:
            folder = common_folder(self.paths)
            self.names = [os.path.relpath(path, folder) for path in self.paths]
        self._own_choices.clear()
        self.answers = {}
        self.chosen = 0
        told = f"{_count(len(self.paths), 'image')} opened."
        if len(kept) < len(paths):
            told += f" {_count(len(paths) - len(kept), 'file')} skipped: {' '.join(problems[:3])}"
        yield told

    def _look_up(self, paths: Sequence[Path]) -> _Looking:
        """Brings the index of each tagger up to date with the images."""
        assert self._index is not None
        seen: dict[str, Iterable[Seen]] = {}
        readable: list[set[Path]] = []
        for name, tagger in self.taggers.items():
            folder = self._index / index_name(tagger)
            for end in range(_INDEXED_AT_ONCE, len(paths), _INDEXED_AT_ONCE):
                with suppress(InputError):  # Of these none can be read; of others some may be.
                    IndexedImages(tagger, paths[end - _INDEXED_AT_ONCE : end], folder)
                yield f"{self._said_by(name)}Reading images: {end:,} of {len(paths):,}."
            seen[name] = images = IndexedImages(tagger, paths, folder)
            readable.append(set(images.paths))
        kept = [path for path in paths if all(path in own for own in readable)]
        require(len(kept) > 0, "None of the images can be read.")
        return kept, ["they can't be read."], seen

    def _look_at(self, paths: Sequence[Path]) -> _Looking:
        """Reads the images for each tagger."""
        seen: dict[str, Iterable[Seen]] = {}
        problems: list[str] = []
        kept = list(paths)
        for name, tagger in self.taggers.items():
            readable: list[Path] = []
            batches_seen: list[Seen] = []
            batches = image_batches(kept, tagger.image_size, _BATCH, tagger.resizing)
            for number, batch in enumerate(batches, 1):
                problems += [_without_folder(str(p), paths) for p in batch.problems]
                readable += [kept[index] for index in batch.indices]
                if batch.indices:
                    batches_seen.append(see(tagger, batch.images))
                done = min(number * _BATCH, len(kept))
                yield f"{self._said_by(name)}Reading images: {done:,} of {len(kept):,}."
            require(len(readable) > 0, problems[0] if problems else "")
            require(
                name == next(iter(self.taggers)) or readable == kept,
                "An image was changed while it was read; open the images again.",
            )
            kept = readable
            seen[name] = batches_seen
        return kept, problems, seen

    def ask(self, text: str) -> str:
        """Asks words of the images; returns what was found, as sentences.

        Args:
            text: Words with commas between them; the first checkpoint's own labels if there are
                none.

        Raises:
            InputError: A word can't be asked; the earlier answers stay.
        """
        words = split_words(text)
        if not self.paths:
            return "Open images to ask words of them."
        answers: dict[str, ImageAnswers] = {}
        for name, tagger in self.taggers.items():
            try:
                seen = self._seen[name]
                answers[name] = ask(tagger, seen, words)
                words = answers[name].labels
                if isinstance(seen, IndexedImages):
                    places = {path: place for place, path in enumerate(seen.paths)}
                    answers[name] = answers[name].select([places[path] for path in self.paths])
            except InputError as error:
                raise InputError(f"{name}: {error}") from error
        self.answers = answers
        # What was accepted by hand belongs to the question.
        self._own_choices.clear()
        if self.sorted_by not in self.labels:
            self.sorted_by = None
        self.chosen = self.order()[0]
        return self.summary()

    @property
    def labels(self) -> list[str]:
        """The labels that the main tagger was asked."""
        return self.answers[self.main].labels if self.answers else []

    def order(self) -> list[int]:
        """Positions of the images as they are to be shown."""
        if self.sorted_by is None:
            return list(range(len(self.paths)))
        return self.answers[self.main].best_images(self.labels.index(self.sorted_by))

    def summary(self) -> str:
        """Says how many images show the word they are sorted by, or any word."""
        if not self.answers:
            return ""
        total = len(self.paths)
        if self.sorted_by is not None:
            column = self.labels.index(self.sorted_by)
            counts = {k: int(a.decisions[:, column].sum()) for k, a in self.answers.items()}
            told = [f"{self._said_by(k)}{n:,} of {total:,}" for k, n in counts.items()]
            return f"Images that show {self.sorted_by!r}: {', '.join(told)}."
        asked = "word" if len(self.labels) == 1 else "words"
        told = [
            f"{self._said_by(k)}{int(a.decisions.any(axis=1).sum()):,} of {total:,}"
            for k, a in self.answers.items()
        ]
        return f"{len(self.labels):,} {asked} asked. Images with a yes: {', '.join(told)}."

    def _said_by(self, name: str) -> str:
        return f"{name} " if len(self.taggers) > 1 else ""

    def tags(self, image: int) -> list[str]:
        """The labels of an image that are accepted, the best first: by hand, else by decision."""
        answers = self.answers[self.main]
        return [
            answers.labels[label]
            for label in answers.best_labels(image)
            if self.is_accepted(image, label)
        ]

    def is_accepted(self, image: int, label: int) -> bool:
        """Whether a label of an image is accepted."""
        answers = self.answers[self.main]
        decision = bool(answers.decisions[image, label])
        return self._own_choices.get((image, answers.labels[label]), decision)

    def accept(self, label: str, is_accepted: bool) -> str:
        """Accepts a label of the chosen image, or takes it out, whatever was decided."""
        require(label in self.labels, f"The label {label!r} was not asked.")
        self._own_choices[self.chosen, label] = is_accepted
        tags = ", ".join(self.tags(self.chosen)) or "none"
        return f"Tags of {self.names[self.chosen]}: {tags}."

    def choose(self, image: int) -> None:
        """Chooses the image that is shown in full."""
        require(0 <= image < len(self.paths), f"There is no image {image}.")
        self.chosen = image

    def write_csv(self, target: Path) -> None:
        """Writes a line for each image, checkpoint and label, the best label first.

        Raises:
            InputError: Nothing was asked yet.
        """
        require(bool(self.answers), "There are no answers yet; open images and ask words.")
        with target.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(
                ["image", "checkpoint", "rank", "label", "score", "threshold", "decision", "why"]
            )
            for image, path in enumerate(self.paths):
                # The path of an upload says nothing.
                source = str(path) if self._has_folder else self.names[image]
                for name, answers in self.answers.items():
                    rows.writerows(_csv_rows(source, name, answers, image))

    def write_sidecars(self) -> str:
        """Adds the accepted tags of all images to their sidecars; says what was done.

        Raises:
            InputError: The images lie in no folder that may be written to.
        """
        require(
            self.can_write,
            "Sidecars are written beside images of a folder; open one, and ask words.",
        )
        written, problems = 0, []
        for image, path in enumerate(self.paths):
            try:
                written += bool(write_sidecar(path, self.tags(image)))
            except InputError as error:
                problems.append(str(error))
            except OSError as error:
                problems.append(f"{path}: {error.strerror}.")
        rest = len(self.paths) - written - len(problems)
        told = f"Tags written to {_count(written, 'sidecar')}; nothing new for {rest:,} images."
        return " ".join([told, *problems[:3]])


def _without_folder(problem: str, paths: Sequence[Path]) -> str:
    """Names an image without its folder, which for an upload is a temporary one."""
    for path in paths:
        problem = problem.replace(str(path), path.name)
    return problem


def _csv_rows(
    image: str, checkpoint: str, answers: ImageAnswers, position: int
) -> Iterator[Sequence[object]]:
    for rank, label in enumerate(answers.best_labels(position), 1):
        threshold = float(answers.thresholds[label])
        yield (
            os.fsencode(image).decode("utf-8", "replace"),
            checkpoint,
            rank,
            answers.labels[label],
            f"{answers.scores[position, label]:.6g}",
            "" if threshold != threshold else f"{threshold:.6g}",
            "yes" if answers.decisions[position, label] else "no",
            answers.reasons[label],
        )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
