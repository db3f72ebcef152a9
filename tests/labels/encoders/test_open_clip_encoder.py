"""Text towers of open_clip as encoders of label names."""

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from tests.fakes.towers import WIDTH, make_pair, write_pair
from zsl.errors import InputError
from zsl.labels import Concatenation, OpenCLIPEncoder, encoder_from_recipe
from zsl.labels.encoders.open_clip_encoder import CLIP_TEMPLATES
from zsl.models import CLIPConfig, MLDecoderConfig, OpenCLIPBackboneConfig, TimmBackboneConfig
from zsl.tasks.pairing import pair_towers

NAMES = ["polar bear", "sky"]


@pytest.fixture
def weights(tmp_path: Path) -> str:
    return str(write_pair(tmp_path / "weights.pt"))


@pytest.mark.parametrize("normalize", [False, True])
@torch.no_grad()
def test_a_vector_is_the_mean_of_those_of_the_sentences(weights: str, normalize: bool) -> None:
    model: Any = make_pair("tiny-clip", Path(weights))
    tokenizer = open_clip.get_tokenizer("tiny-clip")
    templates = ["a photo of a {}.", "{}"]
    found = OpenCLIPEncoder("tiny-clip", weights, templates, normalize).encode(NAMES)
    for name, vector in zip(NAMES, found, strict=True):
        sentences = [template.replace("{}", name) for template in templates]
        vectors = model.encode_text(tokenizer(sentences), normalize=normalize)
        torch.testing.assert_close(vector, vectors.mean(dim=0))
    assert found.shape == (2, WIDTH)
    assert not torch.allclose(found[0], found[1], rtol=1e-3)


@torch.no_grad()
def test_the_templates_of_clip_are_those_of_open_clip(weights: str) -> None:
    assert [t("{}") for t in open_clip.SIMPLE_IMAGENET_TEMPLATES] == CLIP_TEMPLATES
    listed = OpenCLIPEncoder("tiny-clip", weights, CLIP_TEMPLATES).encode(NAMES)
    torch.testing.assert_close(
        OpenCLIPEncoder("tiny-clip", weights, "clip").encode(NAMES), listed, rtol=0, atol=0
    )
    classes: Any = open_clip.build_zero_shot_classifier(
        make_pair("tiny-clip", Path(weights)),
        open_clip.get_tokenizer("tiny-clip"),
        NAMES,
        open_clip.SIMPLE_IMAGENET_TEMPLATES,
    )
    torch.testing.assert_close(F.normalize(listed).T, classes)


def test_a_recipe_embeds_new_names_alike(weights: str) -> None:
    encoder = OpenCLIPEncoder("tiny-clip", weights)
    vectors = encoder.encode(NAMES)
    restored = encoder_from_recipe(json.loads(json.dumps(encoder.recipe)))
    torch.testing.assert_close(restored.encode(NAMES[:1]), vectors[:1])
    assert restored.recipe == encoder.recipe
    assert encoder.recipe["init_args"]["model"] == "tiny-clip"
    torch.manual_seed(1)
    torch.save(open_clip.create_model("tiny-clip").state_dict(), weights)
    with pytest.raises(InputError, match="has changed since the first labels were embedded"):
        restored.encode(["another"])


@torch.no_grad()
def test_a_folder_of_the_hub_brings_weights_and_tokenizer(tmp_path: Path) -> None:
    """SigLIP's tokenizer is on the hub alone."""
    folder = tmp_path / "ViT-tiny-SigLIP"
    words = ["[PAD]", "[UNK]", "a", "photo", "of", ".", "polar", "bear", "sky"]
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, "[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]")
    fast.save_pretrained(folder)
    config = open_clip.get_model_config("tiny-siglip")
    written = {"model_cfg": config, "preprocess_cfg": {"resize_mode": "squash", "size": 32}}
    (folder / "open_clip_config.json").write_text(json.dumps(written))
    model: Any = make_pair("tiny-siglip")
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    found = OpenCLIPEncoder("tiny-siglip", str(folder), normalize=False).encode(NAMES)
    tokens = torch.zeros(2, 16, dtype=torch.int64)
    tokens[0, :7] = torch.tensor([2, 3, 4, 2, 6, 7, 5])
    tokens[1, :6] = torch.tensor([2, 3, 4, 2, 8, 5])
    torch.testing.assert_close(found, model.encode_text(tokens))
    images = OpenCLIPBackboneConfig("tiny-siglip", str(folder)).images
    assert images.resizing.center_crop is None
    backbone = OpenCLIPBackboneConfig("tiny-siglip", str(folder), local=False).make(160)
    torch.testing.assert_close(
        backbone.tower.state_dict(), model.visual.state_dict(), rtol=0, atol=0
    )


def test_what_is_not_named_is_that_of_the_backbone(weights: str) -> None:
    backbone, head = OpenCLIPBackboneConfig("tiny-clip", weights), CLIPConfig()
    for encoder in (OpenCLIPEncoder(), OpenCLIPEncoder("tiny-clip")):
        pair_towers(encoder, backbone, head)
        assert (encoder.model, encoder.weights) == ("tiny-clip", weights)
    own = OpenCLIPEncoder("tiny-mobile-s", "own.pt")
    both = Concatenation([OpenCLIPEncoder(), own])
    pair_towers(both, backbone, MLDecoderConfig())
    assert [part.weights for part in (both.encoders[0], own)] == [weights, "own.pt"]  # type: ignore[attr-defined]
    pair_towers(own, backbone.without_weights(), MLDecoderConfig())
    pair_towers(encoder, backbone.without_weights(), head)
    assert encoder.weights == weights


@pytest.mark.parametrize(
    ("model", "own"), [("tiny-mobile-s", "other.pt"), ("tiny-clip", "other.pt"), (None, "other.pt")]
)
def test_the_text_tower_of_another_model_is_not_compared(
    model: str | None, own: str, weights: str
) -> None:
    backbone = OpenCLIPBackboneConfig("tiny-clip", weights)
    with pytest.raises(InputError, match=r"other.pt, the backbone is tiny-clip with .*null"):
        pair_towers(OpenCLIPEncoder(model, own), backbone, CLIPConfig())


@pytest.mark.parametrize(
    ("model", "weights", "message"),
    [
        (None, None, "encoder.model is null, which takes the model of the backbone"),
        ("tiny-clip", None, "encoder.weights is null, and so is what it would be taken from"),
        ("tiny-clyp", "openai", "has no model 'tiny-clyp'.*'tiny-clip'"),
        ("ViT-B-16", "opnai", "'opnai' is not among the weights of ViT-B-16.*'openai'"),
        ("ViT-B-16", "openai", "openai of ViT-B-16 can't be had .*check the connection"),
        ("tiny-siglip", "FILE", "tokenizer of tiny-siglip can't be had .*timm/tiny-siglip on the"),
    ],
)
def test_what_cannot_be_had_is_one_sentence(
    model: str | None, weights: str | None, message: str, tmp_path: Path
) -> None:
    if weights == "FILE":
        weights = str(write_pair(tmp_path / "weights.pt", "tiny-siglip"))
    encoder = OpenCLIPEncoder(model, weights)
    pair_towers(encoder, TimmBackboneConfig(), MLDecoderConfig())
    with pytest.raises(InputError, match=message) as error:
        encoder.encode(NAMES)
    assert "\n" not in str(error.value)


@torch.no_grad()
def test_texts_of_labels_are_embedded_too(weights: str, tmp_path: Path) -> None:
    texts = tmp_path / "texts.yaml"
    texts.write_text("polar bear: a white bear on ice\n")
    encoder = OpenCLIPEncoder("tiny-clip", weights, "{}", texts=str(texts))
    found = encoder.encode(NAMES)
    model: Any = make_pair("tiny-clip", Path(weights))
    tokenizer = open_clip.get_tokenizer("tiny-clip")
    name, text = model.encode_text(tokenizer(["polar bear", "a white bear on ice"]), normalize=True)
    torch.testing.assert_close(found[0], (name + text) / 2)
    alone = encoder.without_texts()
    torch.testing.assert_close(alone.encode(NAMES)[0], name)
    assert alone.recipe["init_args"]["weights"] == weights
