"""Label names, their roles, their vectors, and the augmentation of these as queries."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zsl.labels.augmentation import QueryAugmentation, QueryAugmentationConfig
    from zsl.labels.encoders.cache import Embedded
    from zsl.labels.encoders.concatenation import Concatenation
    from zsl.labels.encoders.encoder import LabelEncoder, encoder_from_recipe
    from zsl.labels.encoders.label_matrix import LabelMatrix
    from zsl.labels.encoders.open_clip_encoder import OpenCLIPEncoder
    from zsl.labels.encoders.sentence_encoder import SentenceEncoder
    from zsl.labels.encoders.word_vectors import WordVectors
    from zsl.labels.vocabulary import Role, Vocabulary

__all__ = [
    "Concatenation",
    "Embedded",
    "LabelEncoder",
    "LabelMatrix",
    "OpenCLIPEncoder",
    "QueryAugmentation",
    "QueryAugmentationConfig",
    "Role",
    "SentenceEncoder",
    "Vocabulary",
    "WordVectors",
    "encoder_from_recipe",
]
_MODULES = (
    "augmentation",
    "encoders.cache",
    "encoders.concatenation",
    "encoders.encoder",
    "encoders.label_matrix",
    "encoders.open_clip_encoder",
    "encoders.sentence_encoder",
    "encoders.word_vectors",
    "vocabulary",
)


def __getattr__(name: str) -> Any:
    """Imports all of them when one is used, so that `python -m zsl.labels --help` comes at once."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    for module in _MODULES:
        made = vars(import_module(f"{__name__}.{module}"))
        globals().update((key, made[key]) for key in __all__ if key in made)
    return globals()[name]
