"""Label names, their roles, their vectors, and the augmentation of these as queries."""

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
