"""Label names, their roles, their vectors, and the augmentation of these as queries."""

from zsl.labels.augmentation import QueryAugmentation
from zsl.labels.encoders import SentenceEncoder, encoder_from_recipe
from zsl.labels.label_encoder import LabelEncoder
from zsl.labels.vocabulary import Role, Vocabulary
from zsl.labels.word_vectors import WordVectors

__all__ = [
    "LabelEncoder",
    "QueryAugmentation",
    "Role",
    "SentenceEncoder",
    "Vocabulary",
    "WordVectors",
    "encoder_from_recipe",
]
