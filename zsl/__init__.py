"""Multi-label zero-shot learning: train a tagger on the labels you have, ask it for others."""

__version__ = "0.1.0"
