"""The texts that an encoder knows of labels: those of a file, and those added to it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from zsl.errors import InputError, did_you_mean, listing
from zsl.labels.encoders.texts import find_texts, match_texts, read_texts

_log = logging.getLogger(__name__)


class LabelTexts:
    """Texts of labels by name.

    Args:
        source: A file, or the name of a shipped one; opened when the first label is looked up.

    Attributes:
        source: The same, a file with its absolute path.
        of_a_checkpoint: Whether a model was trained with these texts, so that labels are new ones.
    """

    def __init__(self, source: str) -> None:
        self.source = str(Path(source).resolve()) if Path(source).is_file() else source
        self.of_a_checkpoint = False
        self._added: dict[str, list[str]] = {}

    def add(self, texts: Mapping[str, Sequence[str]]) -> None:
        """Adds texts, which win over those of the file."""
        self._added |= {name: list(own) for name, own in texts.items()}

    def of(self, names: Sequence[str]) -> list[list[str]]:
        """Returns the texts of each name, none where there are none.

        Raises:
            InputError: The file can't be read; or it is gone, and no texts were added.
        """
        added, filed = match_texts(names, self._added), match_texts(names, self._filed)
        return [added[name] or filed[name] for name in names]

    def report_lacking(self, names: Sequence[str]) -> None:
        """Logs which labels have no text.

        Raises:
            InputError: None has one, and they are not the new labels of a checkpoint.
        """
        lacking = [name for name, own in zip(names, self.of(names), strict=True) if not own]
        if len(lacking) == len(names) and not self.of_a_checkpoint:
            raise InputError(
                f"{self.source} has a text for none of the {len(names)} labels "
                f"({listing(names)}), but for {listing(self._filed)}; name the labels as there, or "
                f"take another file.{did_you_mean(names[0], self._filed)}"
            )
        if lacking:
            _log.warning(
                "note: %d of %d %slabels have no text in %s (%s); they are embedded by their names "
                "alone.%s",
                len(lacking),
                len(names),
                "new " if self.of_a_checkpoint else "",
                self.source,
                listing(lacking),
                " The model was trained with texts, so their scores may be lower than with one."
                if self.of_a_checkpoint
                else "",
            )

    @cached_property
    def _filed(self) -> dict[str, list[str]]:
        try:
            find_texts(self.source)
        except InputError as error:
            if not self.of_a_checkpoint:
                raise
            if self._added:
                return {}
            raise InputError(
                f"The label texts {self.source}, with which the model was trained, are not there; "
                "bring the file back, or give texts of the new labels (--texts FILE, in Python "
                "add_texts)."
            ) from error
        return read_texts(self.source)
