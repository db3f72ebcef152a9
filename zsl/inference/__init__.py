"""Querying a trained tagger: predictions, heat maps, export, sharing."""

from zsl.inference.tagger import Tagger

__all__ = ["Tagger"]
