"""Label names, their roles, their vectors, and the augmentation of these as queries."""

from zsl.labels.augmentation import QueryAugmentation
from zsl.labels.encoders import SentenceEncoder, encoder_from_recipe
from zsl.labels.vocabulary import Role, Vocabulary

__all__ = ["QueryAugmentation", "Role", "SentenceEncoder", "Vocabulary", "encoder_from_recipe"]
