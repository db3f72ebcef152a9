"""A trained tagger to query and to share: network, labels, and how to embed more of these."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from math import isqrt
from pathlib import Path
from typing import Any, NamedTuple

import torch
from huggingface_hub import ModelCard, PyTorchModelHubMixin, hf_hub_download
from PIL import Image
from safetensors.torch import load_file, save
from torch import Tensor, nn

from zsl.errors import InputError, listing, reason_of, require
from zsl.files.atomic import atomic_files
from zsl.files.checkpoints import LOAD_ERRORS, of_another_version
from zsl.inference.image_batches import ImageLike, image_batches
from zsl.inference.loading import checkpoint_values, restore_parts
from zsl.inference.model_card import model_card
from zsl.inference.prediction import Prediction, Selection
from zsl.labels import LabelEncoder, Role, Vocabulary
from zsl.models import Answers, CLIPHead, Goal, Remembered, TaggerNetwork, contributions
from zsl.preprocessing import Resizing
from zsl.versions import __version__

_log = logging.getLogger(__name__)


class PreparedLabels(NamedTuple):
    """What `Tagger.score` needs of labels."""

    queries: Tensor
    """(L, W) label vectors, or int64 (L,)."""
    network: Any
    """What the network prepared of them."""
    answers: Answers | None
    """What makes probabilities and decisions of their logits; None leaves the scores as they are.
    """


_LABELS_AT_ONCE = 16
_WEIGHTS = "model.safetensors"
_CONFIG = "config.json"
_CARD = "README.md"


class Tagger(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="zsl",
    pipeline_tag="zero-shot-image-classification",
    tags=["multi-label", "zero-shot", "image-tagging"],
):
    """Tags images with labels: those it was trained on, and any others unless these are fixed.

    Made by `from_pretrained`. `save_pretrained(folder)` and `push_to_hub(name)` write
    `model.safetensors`, `config.json` (the plain arguments) and a model card.

    Args:
        names: Label names.
        roles: The role of each name: `seen`, `held_out` or `unseen`.
        image_size: Side of the square images in pixels.
        encoder: Recipe of the label vectors; None if the classes are fixed.
        model: `class_path` and `init_args` of `backbone` and `head`.
        scores_are_log_odds: Whether a sigmoid makes probabilities of the logits.
        label_encoder: Made by the recipe; None if there is none.
        network: Backbone and head, with the vectors of the names if they have any.
        scores_are_softmax: Whether a softmax over all classes does.
        data: What it was trained on, for the card.
        data_fingerprint: Digest of the labels and splits of that data.
        results: Results of its test, as results.json has them, for the card.
        version: Version of zsl with which it was trained.
        resizing: How images become squares: arguments of `zsl.preprocessing.Resizing`.

    Attributes:
        vocabulary: The names and their roles.
        encoder: Embeds new labels; refuses to with another source than that of the recipe. None if
            the classes are fixed.

    Raises:
        InputError: This version of zsl can't make such a model.
    """

    def __init__(
        self,
        names: list[str],
        roles: list[str],
        image_size: int,
        encoder: dict[str, Any] | None,
        model: dict[str, Any],
        scores_are_log_odds: bool,
        label_encoder: LabelEncoder | None,
        network: TaggerNetwork,
        scores_are_softmax: bool = False,
        data: str = "",
        data_fingerprint: str = "",
        results: dict[str, Any] | None = None,
        version: str = __version__,
        resizing: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.vocabulary = Vocabulary(names, roles)
        self.image_size = image_size
        self.resizing = Resizing(**(resizing or {}))
        self.model = model
        self.scores_are_softmax = scores_are_softmax
        self.scores_are_probabilities = scores_are_log_odds or scores_are_softmax
        self.encoder = label_encoder
        self.network = network
        self.data_fingerprint = data_fingerprint
        self.eval()

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path, trust_code: bool = False, **options: Any
    ) -> Tagger:
        """Loads a tagger; nothing is executed, and no label encoder or pretrained weights are read.

        Args:
            pretrained_model_name_or_path: A .ckpt file of zsl.fit, a folder that `save_pretrained`
                wrote, or the name of a repository on the hub.
            trust_code: Whether classes outside of zsl that it names may be imported, which executes
                their modules.
            options: For the hub: `revision`, `cache_dir`, `force_download`, `local_files_only` and
                `token`.

        Raises:
            InputError: It is missing or damaged, does not fit this version of zsl, or names
                a class that is not trusted.
        """
        name = pretrained_model_name_or_path
        path = Path(name)
        is_folder = os.path.isdir(path)
        if os.path.isfile(path) or path.suffix == ".ckpt":
            return cls._restore(str(path), *checkpoint_values(path), trust_code)
        for file in (_CONFIG, _WEIGHTS) if is_folder else ():
            require(
                (path / file).is_file(),
                f"The folder {path} has no {file}; expected one that save_pretrained wrote, or a "
                ".ckpt file of zsl.fit.",
            )
        try:
            return super().from_pretrained(name, trust_code=trust_code, **options)
        except InputError:
            raise
        except Exception as error:  # Damaged files and the net fail in many ways.
            what = "can't be read" if is_folder else "is not here and could not be downloaded"
            raise InputError(
                f"The tagger {name} {what} ({reason_of(error)}); expected a .ckpt file of zsl.fit, "
                "or a folder or hub repository that save_pretrained wrote."
            ) from error

    @classmethod
    def _from_pretrained(
        cls, *, model_id: str, trust_code: bool = False, **arguments: Any
    ) -> Tagger:
        names = ("revision", "cache_dir", "force_download", "local_files_only", "token")
        options = {name: arguments.pop(name) for name in names}
        path = Path(model_id) / _WEIGHTS
        if not os.path.isfile(path):
            path = Path(hf_hub_download(model_id, _WEIGHTS, **options))
        return cls._restore(str(model_id), arguments, load_file(path), trust_code)

    @classmethod
    def _restore(
        cls, source: str, arguments: dict[str, Any], tensors: Mapping[str, Tensor], trust_code: bool
    ) -> Tagger:
        """Makes a tagger of plain values and of tensors, among which there may be others."""
        try:
            encoder, network = restore_parts(arguments, tensors, trust_code)
            # The mixin records an encoder that is None.
            tagger = cls(**arguments | {"label_encoder": encoder, "network": network})
            own = {k: tensor for k, tensor in tensors.items() if k.startswith("network.")}
            tagger.load_state_dict(own)
        except InputError as error:
            raise InputError(f"{source}: {error}") from error
        except LOAD_ERRORS as error:
            raise of_another_version(source, arguments.get("version"), error) from error
        return tagger

    def save_pretrained(
        self, save_directory: str | Path, *, repo_id: str | None = None, **options: Any
    ) -> str | None:
        """Writes the tagger and its card; a card that is there is left.

        Args:
            save_directory: Folder, made if needed.
            repo_id: On the hub; None is the name of the folder.
            options: As `PyTorchModelHubMixin.save_pretrained` takes them: `push_to_hub` and so on.

        Returns:
            The address on the hub, if it was pushed.

        Raises:
            OSError: The folder can't be written; an earlier tagger in it is left as it is.
        """
        folder = Path(save_directory)
        with atomic_files(folder, _CONFIG) as temporary:
            if (folder / _CARD).exists():
                shutil.copyfile(folder / _CARD, temporary / _CARD)
            return super().save_pretrained(temporary, repo_id=repo_id or folder.name, **options)

    def _save_pretrained(self, save_directory: Path) -> None:
        # The mixin's writer says in its own way that the disk is full.
        content = save({name: t.contiguous() for name, t in self.state_dict().items()})
        (save_directory / _WEIGHTS).write_bytes(content)

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """Fills the card in: data, label vectors, backbone, protocol and results."""
        config: Any = self._hub_mixin_config
        return model_card(config, self._hub_mixin_info.model_card_data, self.network.scoring)

    @property
    def own_queries(self) -> Tensor:
        """Queries of the model's own L labels: their vectors, or the positions of fixed classes.

        Returns:
            (L, W), float32 unless the model was converted; or int64 (L,).
        """
        vectors, parameter = self.network.label_vectors, next(self.parameters())
        if vectors is None:
            return torch.arange(len(self.vocabulary), device=parameter.device)
        return vectors

    def embed(self, labels: Sequence[str] | None) -> tuple[list[str], Tensor]:
        """Returns L names and their queries, new ones embedded like the others.

        Args:
            labels: Names; None takes the model's own.

        Returns:
            The names; their vectors (L, W), or int64 (L,) the positions of fixed classes.

        Raises:
            InputError: There are none, one is empty or there twice, has no vector, or is not one of
                the fixed classes.
        """
        if labels is None:
            return self.vocabulary.names, self.own_queries
        names = [labels] if isinstance(labels, str) else list(labels)
        require(len(names) > 0, "There are no labels to score; give one at least.")
        Vocabulary(names, [Role.UNSEEN] * len(names))
        if self.encoder is not None:
            return names, self.encoder.encode(names).to(self.own_queries)
        try:
            return names, self.own_queries[self.vocabulary.indices(names)]
        except InputError as error:
            raise InputError(
                f"{error} The classes of this tagger are fixed; for other labels train with "
                "task: zsl.tasks.ZeroShotTask."
            ) from error

    def add_texts(self, texts: Mapping[str, str | Sequence[str]]) -> None:
        """Gives texts to new labels, such as a description, for a tagger trained with texts.

        They win over those of the file it was trained with. Its own labels keep the vectors with
        which they were trained.

        Args:
            texts: A text, or several, for each name.

        Raises:
            InputError: It was trained without texts, or a text is empty.
        """
        if self.encoder is None:
            raise InputError(
                "The classes of this tagger are fixed, so it takes no texts of labels."
            )
        given = {name: [own] if isinstance(own, str) else list(own) for name, own in texts.items()}
        for name, own in given.items():
            require(
                len(own) > 0 and all(text.strip() for text in own),
                f"A text of the label {name!r} is empty, or there is none; write one.",
            )
        self.encoder.add_texts(given)
        if trained := [name for name in given if name in self.vocabulary]:
            _log.warning(
                "note: the texts of %s are not used: these are labels of the tagger itself, whose "
                "vectors stay those it was trained with.",
                listing(trained),
            )

    def forward(self, images: Tensor, queries: Any = None) -> Tensor:
        """Returns logits (B, L).

        Args:
            images: (B, 3, S, S), uint8, or float in [0, 1].
            queries: From `embed`, or what `prepare` made of them; None takes those of the model's
                own labels.
        """
        return self.network(images, self.own_queries if queries is None else queries)

    def predict(
        self,
        images: ImageLike | Sequence[ImageLike],
        labels: Sequence[str] | None = None,
        top_k: int | None = None,
        threshold: float | None = None,
        batch_size: int = 32,
        decide: str | None = None,
        raw: bool = False,
    ) -> list[Prediction]:
        """Tags images.

        Args:
            images: Paths, or images of Pillow, or one of these.
            labels: Names to choose from, any; None takes the model's own.
            top_k: Most labels an image gets; None is 5, or with a threshold as many as reach it.
            threshold: Lowest score of a label.
            batch_size: Images per batch.
            decide: Keeps the labels that reach their own thresholds, chosen for `f1`, the best F1,
                or for example `precision=0.9`. Images that are unlike those of the training get
                none.
            raw: Gives the model's own scores in place of calibrated probabilities.

        Returns:
            Labels and scores of each image, the best first.

        Raises:
            InputError: An argument is out of range, an image can't be read, or a label has no
                vector; or `decide` is given, but the model has no calibration.
        """
        names, queries = self.embed(labels)
        prepared = self.prepare(queries, decide or "f1", raw)
        selection = self.selection(prepared, top_k, threshold, decide)
        predictions: list[Prediction] = []
        num_unlike = 0
        for tokens in self.token_batches(images, batch_size):
            is_unlike = self.is_unlike(tokens)
            num_unlike += int(is_unlike.sum())
            scored = selection.apply(*self.score(tokens, prepared), names)
            for own, unlike in zip(scored, is_unlike.tolist(), strict=True):
                predictions.append(Prediction([], []) if unlike and decide else own)
        if num_unlike:
            _log.warning("note: %s", unlike_images(num_unlike, len(predictions)))
        return predictions

    def selection(
        self,
        prepared: PreparedLabels,
        top_k: int | None = None,
        threshold: float | None = None,
        decide: str | None = None,
    ) -> Selection:
        """Returns which labels an image gets, as `predict` takes its arguments.

        Raises:
            InputError: An argument is out of range, or there is no calibration to decide by.
        """
        if decide is None:
            are_probabilities = self.scores_are_probabilities or prepared.answers is not None
            return Selection.of(top_k, threshold, are_probabilities)
        require(
            threshold is None,
            f"threshold is {threshold}, but decide={decide!r} has a threshold for each label; "
            "leave one of them out.",
        )
        if prepared.answers is None:
            raise InputError(
                "This tagger has no thresholds to decide by: it has no calibration, which zsl.fit "
                "makes of validation images with labels present and absent, unless scores are a "
                "softmax; train again, or give a threshold."
            )
        return Selection.of(top_k, 0, True)._replace(threshold=prepared.answers.thresholds)

    def token_batches(
        self, images: ImageLike | Sequence[ImageLike], batch_size: int = 32
    ) -> Iterator[Tensor]:
        """Yields the backbone's tokens (B, T, C) of batches of images.

        Args:
            images: Paths, or images of Pillow, or one of these.
            batch_size: Images per batch.

        Raises:
            InputError: An image can't be read.
        """
        require(batch_size >= 1, f"batch_size is {batch_size}; expected 1 or more.")
        for batch in image_batches(_as_list(images), self.image_size, batch_size, self.resizing):
            for problem in batch.problems:
                raise problem
            yield self.tokens(batch.images)

    @torch.no_grad()
    def tokens(self, images: Tensor) -> Tensor:
        """Returns the backbone's tokens (B, T, C) of images uint8 (B, 3, S, S)."""
        return self.network.backbone(images.to(next(self.parameters()).device))

    @torch.no_grad()
    def prepare(self, queries: Tensor, goal: str = "f1", raw: bool = False) -> PreparedLabels:
        """Does the work on queries from `embed` once, for many calls of `score`.

        With scores that are standardised, that is scoring a sample of training images.

        Args:
            queries: (L, W) label vectors, or int64 (L,).
            goal: What decisions should reach: `f1`, or `precision=P`.
            raw: Leaves the calibration out.

        Raises:
            InputError: The goal is another one.
        """
        parsed = Goal.parse(goal)
        network = self.network.prepare(queries)
        return PreparedLabels(
            queries, network, None if raw else self.network.answers(queries, network, parsed)
        )

    @torch.no_grad()
    def is_unlike(self, tokens: Tensor) -> Tensor:
        """Returns bool (B,): whether images are unlike those on which the model was validated.

        Of images that are like those, one in a hundred is taken for unlike.

        Args:
            tokens: (B, T, C).
        """
        familiar = self.network.familiar
        if familiar is None:
            return torch.zeros(len(tokens), dtype=torch.bool)
        return familiar.is_unlike(familiar(tokens)).cpu()

    @torch.no_grad()
    def score(
        self, tokens: Tensor | Remembered, queries: Tensor | PreparedLabels
    ) -> tuple[Tensor, Tensor]:
        """Scores labels for tokens.

        Args:
            tokens: (B, T, C), or what `network.remember` made of them.
            queries: From `embed`, or what `prepare` made of them.

        Returns:
            Logits (B, L) for ranking, and scores (B, L) to show: probabilities, or the logits where
            these are not log-odds.

        Raises:
            InputError: A logit is not a number.
        """
        labels = self.prepare(queries) if isinstance(queries, Tensor) else queries
        # A softmax is over all classes, whichever of them are asked for.
        own = None if self.scores_are_softmax else labels.network
        logits = self.network.score(tokens, own).float()
        require(
            not bool(logits.isnan().any()),
            "The model's scores are not numbers (NaN), since its weights or label vectors are not; "
            "take an earlier checkpoint, or train again.",
        )
        if self.scores_are_softmax:
            return logits[:, labels.network], logits.softmax(dim=1)[:, labels.network]
        if labels.answers is not None:
            logits = labels.answers.logits(logits)
            return logits, logits.sigmoid()
        return logits, logits.sigmoid() if self.scores_are_probabilities else logits

    @torch.no_grad()
    def heat_maps(
        self,
        tokens: Tensor,
        labels: Sequence[str] | PreparedLabels,
        columns: Sequence[int] | None = None,
    ) -> Tensor:
        """Returns what each part of an image contributes to a label's logit: (B, L, H', W').

        Positive is evidence for the label, negative against it, measured from an image that is
        everywhere as the image is on average (`zsl.models.contributions`). H' × W' are the
        backbone's tokens; under them is `resizing.seen_part(image)`, by default the whole image,
        squashed.

        Args:
            tokens: (B, T, C), from `token_batches`.
            labels: L names, any; or what `prepare` made of them, to keep for many calls.
            columns: Positions of some of the labels; None takes all.

        Raises:
            InputError: The tagger has no heat maps, or a label no vector.
        """
        self.check_heat_maps()
        prepared = labels
        if not isinstance(prepared, PreparedLabels):
            prepared = self.prepare(self.embed(prepared)[1])
        device = prepared.queries.device
        chosen = range(len(prepared.queries)) if columns is None else columns
        maps = []
        for part in torch.tensor(chosen, device=device).split(_LABELS_AT_ONCE):
            own = self.network.select(prepared.network, prepared.queries, part)
            maps.append(contributions(self.network, tokens, own))
            if prepared.answers is not None:
                maps[-1] *= prepared.answers.scale[part, None]
        return torch.cat(maps, dim=1).unflatten(2, (self.map_side, self.map_side))

    @property
    def has_heat_maps(self) -> bool:
        """Whether the tagger sees parts of an image; others see it as a whole."""
        return self.map_side > 0

    @cached_property
    def map_side(self) -> int:
        """Side of heat maps in tokens; 0 where the image is seen as a whole."""
        head = self.network.head
        image = torch.zeros(1, 3, self.image_size, self.image_size, dtype=torch.uint8)
        num_parts = self.tokens(image).shape[1] - self._num_prefix_tokens
        side = isqrt(num_parts)
        is_whole = side**2 != num_parts or (isinstance(head, CLIPHead) and head.local == 0)
        return side if side > 1 and not is_whole else 0

    def check_heat_maps(self) -> None:
        """Refuses taggers that see an image as a whole.

        Raises:
            InputError: The backbone's tokens are not a square of parts of the image, or the head
                does not look at these.
        """
        require(
            self.has_heat_maps,
            f"The head {type(self.network.head).__name__} does not see a square of parts of the "
            "image, so there are no heat maps; take a checkpoint whose backbone is not pooled, of "
            "CLIP one with backbone.local true and head.local above 0.",
        )

    def attention(
        self,
        images: ImageLike | Sequence[ImageLike],
        labels: Sequence[str] | None = None,
        batch_size: int = 32,
    ) -> Tensor:
        """Returns where the decoder looks for each label, mean over heads: (B, L, H', W').

        It may look where it finds evidence against a label, and labels of one group have one map;
        what speaks for a label is told by `heat_maps`. The weights of a label sum to 1, but for
        what is on a tower's image vector.

        Args:
            images: B paths, or images of Pillow, or one of these.
            labels: L names, any; None takes the model's own.
            batch_size: Images per batch.

        Raises:
            InputError: The head has no attention, an image can't be read, or a label has no vector.
        """
        decoder: Any = self.network.head
        require(
            hasattr(decoder, "attention"),
            f"The head {type(decoder).__name__} has no attention; take a checkpoint of ML-Decoder, "
            "or heat maps.",
        )
        self.check_heat_maps()
        _, queries = self.embed(labels)
        maps = []
        for tokens in self.token_batches(images, batch_size):
            with torch.no_grad():
                weights = decoder.attention(tokens, queries).float()
            maps.append(weights[:, :, self._num_prefix_tokens :].cpu())
        require(len(maps) > 0, "There are no images to look at; give one at least.")
        return torch.cat(maps).unflatten(2, (self.map_side, self.map_side))

    @property
    def _num_prefix_tokens(self) -> int:
        """Tokens that are not parts of the image: the image vector of a tower."""
        return getattr(self.network.backbone, "num_prefix_tokens", 0)


def unlike_images(number: int, of: int) -> str:
    """Says how many images are unlike those of the training."""
    return (
        f"{number:,} of {of:,} images are unlike those the tagger was trained on (of images like "
        "those, 1 in 100 is); what it says about them means little."
    )


def _as_list(images: ImageLike | Sequence[ImageLike]) -> Sequence[ImageLike]:
    return [images] if isinstance(images, str | Path | Image.Image) else images
