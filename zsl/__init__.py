"""Multi-label zero-shot learning: train a tagger on the labels you have, query it with others."""

from typing import TYPE_CHECKING, Any

from zsl.versions import __version__

if TYPE_CHECKING:
    from zsl.inference import Tagger

__all__ = ["Tagger", "__version__"]


def __getattr__(name: str) -> Any:
    """Imports what takes seconds when it is used, so that every command's help comes at once."""
    if name == "Tagger":
        from zsl.inference import Tagger

        return Tagger
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
