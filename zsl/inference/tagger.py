"""A trained tagger, loaded and shared; it is queried as a `Scorer` and an `Explainer`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, PyTorchModelHubMixin, hf_hub_download
from safetensors.torch import load_file, save
from torch import Tensor

from zsl.errors import InputError, reason_of, require
from zsl.files.atomic import atomic_files
from zsl.files.checkpoints import LOAD_ERRORS, of_another_version
from zsl.inference.explainer import Explainer
from zsl.inference.loading import checkpoint_values, restore_parts
from zsl.inference.model_card import model_card
from zsl.inference.ready import READY, ready_values
from zsl.labels import LabelEncoder, Vocabulary
from zsl.models import TaggerNetwork
from zsl.preprocessing import Resizing
from zsl.versions import __version__

_WEIGHTS = "model.safetensors"
_CONFIG = "config.json"
_CARD = "README.md"


class Tagger(
    Explainer,
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
        super().__init__(
            Vocabulary(names, roles),
            image_size,
            Resizing(**(resizing or {})),
            label_encoder,
            network,
            scores_are_log_odds,
            scores_are_softmax,
        )
        self.model = model
        self.data_fingerprint = data_fingerprint
        self.eval()

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path, trust_code: bool = False, **options: Any
    ) -> Tagger:
        """Loads a tagger; nothing is executed, and no label encoder or pretrained weights are read.

        Args:
            pretrained_model_name_or_path: A .ckpt file of zsl.fit, a folder that `save_pretrained`
                wrote, the name of a repository on the hub, or `ready`: see `zsl.inference.ready`.
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
        if str(name) == READY and not path.exists():
            return cls._restore(READY, *ready_values(), trust_code)
        if os.path.isfile(path) or path.suffix == ".ckpt":
            return cls._restore(str(path), *checkpoint_values(path), trust_code)
        for file in (_CONFIG, _WEIGHTS) if is_folder else ():
            require(
                (path / file).is_file(),
                f"The folder {path} has no {file}; expected one that save_pretrained wrote, or "
                "the .ckpt file of a training.",
            )
        try:
            return super().from_pretrained(name, trust_code=trust_code, **options)
        except InputError:
            raise
        except Exception as error:  # Damaged files and the net fail in many ways.
            what = "can't be read" if is_folder else "is not here and could not be downloaded"
            raise InputError(
                f"The tagger {name} {what} ({reason_of(error)}); expected the .ckpt file of a "
                "training, or a folder or hub repository that save_pretrained wrote."
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
