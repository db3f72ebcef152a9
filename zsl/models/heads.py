"""The head that a task's settings ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from torch import Tensor, nn

from zsl.errors import require
from zsl.models.bilinear import BilinearHead
from zsl.models.clip import CLIPHead
from zsl.models.conse import ConSEHead
from zsl.models.fast0tag import Fast0TagHead
from zsl.models.grouping import group_labels
from zsl.models.ml_decoder import GroupedWordMLDecoder, WordMLDecoder
from zsl.models.span import span_of
from zsl.models.tokens import OnMeanToken

Head = Literal["ml_decoder", "bilinear", "fast0tag", "conse", "clip"]


def make_head(
    name: str, token_dim: int, seen_vectors: Tensor, settings: Mapping[str, Any]
) -> nn.Module:
    """Makes the head of a task.

    Args:
        name: `ml_decoder`, `bilinear`, `fast0tag`, `conse` or `clip`.
        token_dim: Width C of the backbone's tokens.
        seen_vectors: (S, W) vectors of the seen labels.
        settings: The arguments of `zsl.tasks.zero_shot.ZeroShotTask`.

    Returns:
        A module that turns tokens (B, T, C) and label vectors (L, W) into logits (B, L).

    Raises:
        InputError: A setting is out of range, or does not go with this head.
    """
    heads = get_args(Head)
    require(name in heads, f"There is no head {name!r}; expected one of {', '.join(heads)}.")
    query_dim = seen_vectors.shape[1]
    head: nn.Module
    if name == "bilinear":
        head = BilinearHead(token_dim, query_dim)
    elif name == "fast0tag":
        width = settings["feedforward_dim"]
        require(width >= 1, f"model.feedforward_dim is {width}; expected 1 or more.")
        head = Fast0TagHead(token_dim, query_dim, width, settings["dropout"])
    elif name == "conse":
        head = _make_conse(token_dim, seen_vectors, settings)
    elif name == "clip":
        head = _make_clip(token_dim, query_dim, settings)
    else:
        head = _make_ml_decoder(token_dim, seen_vectors, settings)
    return OnMeanToken(head) if settings["pool_tokens"] else head


def scores_are_log_odds(settings: Mapping[str, Any]) -> bool:
    """Whether a sigmoid makes probabilities of the scores: not of cosines, nor of mere ranks.

    Args:
        settings: The arguments of `zsl.tasks.zero_shot.ZeroShotTask`.
    """
    return settings["loss"] == "asymmetric" and settings["head"] not in ("conse", "clip")


def _make_ml_decoder(
    token_dim: int, seen_vectors: Tensor, settings: Mapping[str, Any]
) -> WordMLDecoder | GroupedWordMLDecoder:
    names = ("embed_dim", "num_heads", "feedforward_dim", "dropout", "query_relu")
    options = {name: settings[name] for name in names}
    if settings["seen_span"]:
        options["span"] = span_of(seen_vectors)
    if settings["num_groups"] is None:
        return WordMLDecoder(token_dim, seen_vectors.shape[1], **options)
    groups = group_labels(seen_vectors, min(settings["num_groups"], len(seen_vectors)))
    return GroupedWordMLDecoder(token_dim, groups, **options)


def _make_conse(token_dim: int, seen_vectors: Tensor, settings: Mapping[str, Any]) -> ConSEHead:
    for name in (
        "query_noise",
        "query_rotation",
        "query_dropout",
        "random_queries",
        "mixed_queries",
        "neighbour_queries",
    ):
        require(
            not settings[name],
            f"model.{name} is {settings[name]}, but model.head conse trains a classifier of the "
            "seen labels, which has no queries to augment; set it to 0, or take another head.",
        )
    return ConSEHead(token_dim, seen_vectors, settings["num_combined"])


def _make_clip(token_dim: int, query_dim: int, settings: Mapping[str, Any]) -> CLIPHead:
    require(
        settings["freeze_backbone"],
        "model.freeze_backbone is false, but model.head clip takes CLIP as it is; set it true, and "
        "trainer.max_epochs to 0.",
    )
    require(
        token_dim == query_dim,
        f"The backbone {settings['backbone']!r} embeds images in {token_dim} numbers, "
        f"model.encoder labels in {query_dim}; model.head clip compares the two, so take the image "
        "tower and the text tower of one CLIP.",
    )
    return CLIPHead()
