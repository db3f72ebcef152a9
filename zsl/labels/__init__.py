"""Label names, their roles, their vectors, and the augmentation of these as queries."""

from zsl.labels.augmentation import QueryAugmentation
from zsl.labels.concatenation import Concatenation
from zsl.labels.label_encoder import LabelEncoder
from zsl.labels.label_matrix import LabelMatrix
from zsl.labels.recipes import encoder_from_recipe
from zsl.labels.sentence_encoder import SentenceEncoder
from zsl.labels.vocabulary import Role, Vocabulary
from zsl.labels.word_vectors import WordVectors

__all__ = [
    "Concatenation",
    "LabelEncoder",
    "LabelMatrix",
    "QueryAugmentation",
    "Role",
    "SentenceEncoder",
    "Vocabulary",
    "WordVectors",
    "encoder_from_recipe",
]
