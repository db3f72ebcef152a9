"""Images to tokens, tokens and queries to logits."""

from zsl.models.backbone import Backbone, BackboneConfig, TimmBackboneConfig
from zsl.models.baselines import (
    BilinearConfig,
    BilinearHead,
    CLIPConfig,
    CLIPHead,
    ConSEConfig,
    ConSEHead,
    Fast0TagConfig,
    Fast0TagHead,
)
from zsl.models.calibration import Answers, Calibration, Goal
from zsl.models.closed_form import ClosedFormConfig, ClosedFormHead
from zsl.models.contributions import contributions
from zsl.models.drop_in import add_ml_decoder_head
from zsl.models.familiarity import FamiliarImages
from zsl.models.fixed_heads import FixedHeadConfig, FixedMLDecoderConfig, PoolingConfig, PoolingHead
from zsl.models.fixed_ml_decoder import FixedMLDecoder
from zsl.models.grouped_ml_decoder import GroupedWordMLDecoder
from zsl.models.grouping import group_labels
from zsl.models.heads import HeadConfig, MLDecoderConfig, span_of
from zsl.models.ml_decoder import MLDecoder
from zsl.models.network import TaggerNetwork
from zsl.models.open_clip_backbone import OpenCLIPBackbone, OpenCLIPBackboneConfig
from zsl.models.own_classes import OwnClassesConfig, OwnClassesHead
from zsl.models.published import load_published, published_classes, to_published
from zsl.models.remembered import Remembered
from zsl.models.scores import NormalisedScores, ScoresConfig
from zsl.models.tokens import OnMeanToken
from zsl.models.word_ml_decoder import WordMLDecoder

__all__ = [
    "Answers",
    "Backbone",
    "BackboneConfig",
    "BilinearConfig",
    "BilinearHead",
    "CLIPConfig",
    "CLIPHead",
    "Calibration",
    "ClosedFormConfig",
    "ClosedFormHead",
    "ConSEConfig",
    "ConSEHead",
    "FamiliarImages",
    "Fast0TagConfig",
    "Fast0TagHead",
    "FixedHeadConfig",
    "FixedMLDecoder",
    "FixedMLDecoderConfig",
    "Goal",
    "GroupedWordMLDecoder",
    "HeadConfig",
    "MLDecoder",
    "MLDecoderConfig",
    "NormalisedScores",
    "OnMeanToken",
    "OpenCLIPBackbone",
    "OpenCLIPBackboneConfig",
    "OwnClassesConfig",
    "OwnClassesHead",
    "PoolingConfig",
    "PoolingHead",
    "Remembered",
    "ScoresConfig",
    "TaggerNetwork",
    "TimmBackboneConfig",
    "WordMLDecoder",
    "add_ml_decoder_head",
    "contributions",
    "group_labels",
    "load_published",
    "published_classes",
    "span_of",
    "to_published",
]
