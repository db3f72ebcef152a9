"""Asking a trained tagger: predictions, heat maps, export, sharing."""

from zsl.inference.gallery import Gallery
from zsl.inference.tagger import Tagger

__all__ = ["Gallery", "Tagger"]
