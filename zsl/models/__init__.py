"""Images to tokens, tokens and queries to logits."""

from zsl.models.backbone import Backbone
from zsl.models.decoder import MLDecoder
from zsl.models.tagger import Tagger

__all__ = ["Backbone", "MLDecoder", "Tagger"]
