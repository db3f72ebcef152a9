"""Images to tokens, tokens and queries to logits."""

from zsl.models.backbone import Backbone
from zsl.models.bilinear import BilinearHead
from zsl.models.clip import CLIPHead
from zsl.models.conse import ConSEHead
from zsl.models.drop_in import add_ml_decoder_head
from zsl.models.fast0tag import Fast0TagHead
from zsl.models.grouping import group_labels
from zsl.models.heads import make_head, scores_are_log_odds
from zsl.models.ml_decoder import FixedMLDecoder, GroupedWordMLDecoder, MLDecoder, WordMLDecoder
from zsl.models.network import TaggerNetwork, make_network
from zsl.models.published import load_published, to_published
from zsl.models.span import span_of
from zsl.models.tokens import OnMeanToken

__all__ = [
    "Backbone",
    "BilinearHead",
    "CLIPHead",
    "ConSEHead",
    "Fast0TagHead",
    "FixedMLDecoder",
    "GroupedWordMLDecoder",
    "MLDecoder",
    "OnMeanToken",
    "TaggerNetwork",
    "WordMLDecoder",
    "add_ml_decoder_head",
    "group_labels",
    "load_published",
    "make_head",
    "make_network",
    "scores_are_log_odds",
    "span_of",
    "to_published",
]
