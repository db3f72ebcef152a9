"""Heat maps and attention."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import zsl
from tests.fakes.checkpoints import write_checkpoint
from tests.fakes.parts import tiny_backbone, tiny_head
from tests.inference.images import pixels
from zsl.errors import InputError
from zsl.models import Answers, BilinearConfig, TaggerNetwork
from zsl.preprocessing import Resizing


@pytest.mark.parametrize(
    ("parts", "side"),
    [
        ({"backbone": tiny_backbone(stride=8), "head": tiny_head(num_groups=3)}, 8),
        ({"backbone": tiny_backbone(name="test_vit", stride=None)}, 4),
    ],
)
def test_attention_is_a_map_of_each_label(parts: dict[str, Any], side: int, tmp_path: Path) -> None:
    tagger = zsl.Tagger.from_pretrained(write_checkpoint(tmp_path / "run", **parts))
    pictures = sorted((tmp_path / "run" / "photos" / "images").iterdir())[:3]
    labels = ["pink", "red"]
    maps = tagger.attention(pictures, labels, batch_size=2)
    assert maps.shape == (3, 2, side, side)
    torch.testing.assert_close(maps.sum(dim=(2, 3)), torch.ones(3, 2))
    tokens = tagger.tokens(pixels(pictures[2:]))
    decoder: Any = tagger.network.head
    with torch.no_grad():
        (expected,) = decoder.attention(tokens, tagger.embed(labels)[1])
    torch.testing.assert_close(maps[2].flatten(1), expected, rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(tagger.attention(pictures[2], labels), maps[2:])


def test_heat_maps_are_of_each_labels_own_logit(
    normalised: Path, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tagger = zsl.Tagger.from_pretrained(normalised)
    (tokens,) = tagger.token_batches(pictures[:3])
    names, queries = tagger.embed(None)
    prepared = tagger.prepare(queries)
    maps = tagger.heat_maps(tokens, prepared)
    assert maps.shape == (3, len(names), 2, 2)
    at_mean = tokens.mean(dim=1, keepdim=True).expand_as(tokens)
    expected = tagger.score(tokens, prepared)[0] - tagger.score(at_mean, prepared)[0]
    torch.testing.assert_close(maps.sum(dim=(2, 3)), expected, rtol=0.02, atol=0.05)
    asked = tagger.heat_maps(tokens, [names[3], "pink", names[1]])
    torch.testing.assert_close(asked[:, [0, 2]], maps[:, [3, 1]], rtol=1e-3, atol=1e-4)
    # No sample of training images is scored again, and a few labels at a time will do.
    monkeypatch.delattr(TaggerNetwork, "prepare")
    monkeypatch.setattr("zsl.inference.explainer._LABELS_AT_ONCE", 2)
    some = tagger.heat_maps(tokens[1:], prepared, [5, 0, 3])
    torch.testing.assert_close(some, maps[1:, [5, 0, 3]], rtol=1e-3, atol=1e-4)


def test_calibrated_logits_have_calibrated_heat_maps(
    normalised: Path, pictures: list[Path]
) -> None:
    tagger = zsl.Tagger.from_pretrained(normalised)
    (tokens,) = tagger.token_batches(pictures[:2])
    plain = tagger.prepare(tagger.embed(["pink", "red"])[1])
    scale = torch.tensor([2.0, 0.5])
    nothing = torch.zeros(2)
    answers = Answers(scale, nothing, nothing, nothing, nothing, nothing)
    calibrated = tagger.heat_maps(tokens, plain._replace(answers=answers), [1, 0])
    expected = tagger.heat_maps(tokens, plain, [1, 0]) * scale[[1, 0], None, None]
    torch.testing.assert_close(calibrated, expected)


def test_where_an_image_is_seen_as_a_whole_there_are_no_heat_maps(tmp_path: Path) -> None:
    pooled = tiny_backbone(stride=None, pooled=True)
    tagger = zsl.Tagger.from_pretrained(write_checkpoint(tmp_path / "run", backbone=pooled))
    with pytest.raises(InputError, match="so there are no heat maps"):
        tagger.heat_maps(torch.zeros(1, 1, 8), ["pink"])
    with pytest.raises(InputError, match="so there are no heat maps"):
        tagger.attention([])


def test_a_head_without_attention_says_so(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "run", head=BilinearConfig())
    with pytest.raises(InputError, match="The head BilinearHead has no attention"):
        zsl.Tagger.from_pretrained(path).attention([])


def test_maps_lie_on_the_part_of_the_image_that_is_seen() -> None:
    image = Image.new("RGB", (60, 40), "black")
    image.paste((255, 255, 255), (14, 4, 46, 36))
    seen = Resizing(center_crop=0.8).seen_part(image)
    assert seen.size == (32, 32)
    assert seen.getextrema() == ((255, 255),) * 3
    assert Resizing().seen_part(image) is image
