"""The texts that an encoder knows of labels: those of a file, and those added to it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from zsl.errors import InputError, listing
from zsl.labels.encoders.texts import find_texts, match_texts, none_found, read_texts

_log = logging.getLogger(__name__)

_NEW = " The model was trained with texts: without one a label's scores may be lower."


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
            raise InputError(none_found(names, self._filed, self.source))
        if lacking:
            kind, advice = ("new labels", _NEW) if self.of_a_checkpoint else ("labels", "")
            _log.warning(
                "note: %d of %d %s have no text in %s (%s); they are embedded by their names "
                "alone.%s",
                len(lacking),
                len(names),
                kind,
                self.source + (" or among those added" if self._added else ""),
                listing(lacking),
                advice,
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
