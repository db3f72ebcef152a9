"""Published checkpoints, in their own names, into our heads and back."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import pytest
import timm
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.models.official import official_shapes
from tests.models.published import published_logits
from zsl.commands.configs import shipped_configs
from zsl.errors import InputError
from zsl.models import (
    FixedMLDecoder,
    FixedMLDecoderConfig,
    GroupedWordMLDecoder,
    MLDecoder,
    TaggerNetwork,
    TimmBackboneConfig,
    WordMLDecoder,
    add_ml_decoder_head,
)
from zsl.models.published import Style, load_published, to_published

D, FEEDFORWARD, C, W = 16, 24, 10, 6
OPTIONS: dict[str, Any] = {"embed_dim": D, "feedforward_dim": FEEDFORWARD}


def decoder_tensors() -> dict[str, Tensor]:
    """The published decoder's names and shapes, as in the official code."""
    shapes = {
        "embed_standart.weight": (D, C),
        "embed_standart.bias": (D,),
        "layers.0.norm1.weight": (D,),
        "layers.0.norm1.bias": (D,),
        "layers.0.multihead_attn.in_proj_weight": (3 * D, D),
        "layers.0.multihead_attn.in_proj_bias": (3 * D,),
        "layers.0.multihead_attn.out_proj.weight": (D, D),
        "layers.0.multihead_attn.out_proj.bias": (D,),
        "layers.0.linear1.weight": (FEEDFORWARD, D),
        "layers.0.linear1.bias": (FEEDFORWARD,),
        "layers.0.linear2.weight": (D, FEEDFORWARD),
        "layers.0.linear2.bias": (D,),
        "layers.0.norm2.weight": (D,),
        "layers.0.norm2.bias": (D,),
        "layers.0.norm3.weight": (D,),
        "layers.0.norm3.bias": (D,),
    }
    return {name: 0.4 * torch.randn(shape).double() for name, shape in shapes.items()}


def fixed_tensors() -> dict[str, Tensor]:
    """Seven classes in three groups."""
    return decoder_tensors() | {
        "query_embed.weight": torch.randn(3, D).double(),
        "duplicate_pooling": torch.randn(3, D, 3).double(),
        "duplicate_pooling_bias": torch.randn(7).double(),
    }


def word_tensors() -> dict[str, Tensor]:
    return decoder_tensors() | {
        "wordvec_proj.weight": torch.randn(D, W).double(),
        "wordvec_proj.bias": torch.randn(D).double(),
        "duplicate_pooling": torch.randn(D, 1).double(),
        "duplicate_pooling_bias": torch.randn(1).double(),
    }


def official(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        prefix + ("" if name.startswith("wordvec_proj") else "decoder.") + name: tensor
        for name, tensor in tensors.items()
    }


def of_timm(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        prefix + ("decoder." if name.startswith("layers.") else "") + name: tensor
        for name, tensor in tensors.items()
    }


def make_fixed() -> FixedMLDecoder:
    return FixedMLDecoder(C, 7, 3, **OPTIONS).double().eval()


def make_words() -> WordMLDecoder:
    return WordMLDecoder(C, W, **OPTIONS).double().eval()


@pytest.mark.parametrize("prefix", ["head.", "fc.", "", "module.head."])
@pytest.mark.parametrize("named", [official, of_timm])
def test_fixed_classes_score_as_the_checkpoint_says(
    named: Callable[..., dict[str, Tensor]], prefix: str
) -> None:
    tensors, head, tokens = fixed_tensors(), make_fixed(), torch.randn(2, 4, C).double()
    report = load_published(head, named(tensors, prefix) | {"body.conv1.weight": torch.ones(2)})
    assert report == (["body.conv1.weight"], [])
    expected = published_logits(tensors, tokens)
    torch.testing.assert_close(head(tokens), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("prefix", ["head.", "fc.", ""])
def test_words_score_as_the_checkpoint_says(prefix: str) -> None:
    tensors, head = word_tensors(), make_words()
    tokens, queries = torch.randn(2, 4, C).double(), torch.randn(5, W).double()
    assert load_published(head, official(tensors, prefix)) == ([], [])
    expected = published_logits(tensors, tokens, queries)
    torch.testing.assert_close(head(tokens, queries), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("tensors", "make", "style", "named"),
    [
        (fixed_tensors, make_fixed, "official", official),
        (fixed_tensors, make_fixed, "timm", of_timm),
        (word_tensors, make_words, "official", official),
    ],
)
def test_there_and_back_is_the_same(
    tensors: Callable[[], dict[str, Tensor]],
    make: Callable[[], MLDecoder],
    style: Style,
    named: Callable[..., dict[str, Tensor]],
) -> None:
    checkpoint, head = named(tensors(), "fc."), make()
    load_published(head, checkpoint)
    back = to_published(head, style, "fc.")
    assert back.keys() == checkpoint.keys()
    for name, tensor in checkpoint.items():
        assert torch.equal(back[name], tensor), name


def test_names_and_shapes_are_those_of_timms_port() -> None:
    from timm.layers.ml_decoder import MLDecoder as TimmMLDecoder

    theirs = TimmMLDecoder(num_classes=205, initial_num_features=32)
    ours = FixedMLDecoder(32, 205)
    assert load_published(ours, theirs.state_dict()) == ([], [])
    theirs.load_state_dict(to_published(ours, "timm", ""))


@pytest.mark.filterwarnings("ignore:for .*meta parameter")
@pytest.mark.parametrize("num_classes", [80, 205, None])
@pytest.mark.parametrize(
    ("size", "name", "options"),
    [
        ("m", "tresnet_m", {}),
        ("l", "tresnet_v2_l", {}),
        ("xl", "tresnet_v2_l", {"layers": [3, 8, 34, 5]}),
    ],
)
def test_official_models_fit_to_the_last_tensor(
    size: str, name: str, options: dict[str, Any], num_classes: int | None
) -> None:
    with torch.device("meta"):
        model = timm.create_model(name, **options)
        if num_classes is None:
            model = add_ml_decoder_head(model, query_dim=300)
        else:
            add_ml_decoder_head(model, num_classes)
        for counters in (True, False):
            shapes = official_shapes(size, num_classes, counters)
            tensors = {key: torch.empty(shape) for key, shape in shapes.items()}
            assert load_published(model, {"model": tensors}) == ([], [])  # type: ignore[dict-item]


@pytest.mark.filterwarnings("ignore:for .*meta parameter")
@pytest.mark.parametrize(
    ("size", "config", "image_size", "num_classes", "groups"),
    [
        ("m", "coco_tresnet_l_448.yaml", 224, 80, 100),
        ("l", "coco_tresnet_l_448.yaml", 448, 80, 100),
        ("xl", "coco_tresnet_xl_640.yaml", 640, 80, 100),
        ("m", "openimages_v6.yaml", 224, 9605, 200),
        ("l", "stanford_cars.yaml", 384, 196, 100),
    ],
)
def test_the_networks_of_the_configs_are_the_published_ones(
    size: str, config: str, image_size: int, num_classes: int, groups: int
) -> None:
    """All files of MODEL_ZOO.md; of the M of MS-COCO another backbone is named."""
    text = (shipped_configs() / config).read_text(encoding="utf-8")
    settings = yaml.safe_load(text)
    model, images = settings["model"], settings["data"]["init_args"]["images"]
    backbone = model["backbone"] | {"weights": None}
    if (size, num_classes) == ("m", 80):
        backbone["name"], images["size"] = "tresnet_m", 224
    assert images["size"] == image_size
    head = model.get("head", {}).get("init_args", model.get("head", {}))
    with torch.device("meta"):
        network = TaggerNetwork.make(
            TimmBackboneConfig(**backbone),
            FixedMLDecoderConfig(**head),
            image_size,
            None,
            num_classes,
        )
    shapes = official_shapes(size, num_classes, groups=groups)
    tensors = {key: torch.empty(shape) for key, shape in shapes.items()}
    report = load_published(network, {"model": tensors})  # type: ignore[dict-item]
    assert report.unused == []
    own = [name for name in report.untouched if not name.startswith(("calibration.", "familiar."))]
    assert own == ["backbone.mean", "backbone.std"]


def test_a_whole_model_with_officially_named_backbone(tmp_path: Path) -> None:
    small = {"layers": [1, 1, 1, 1], "width_factor": 0.25}
    model = timm.create_model("tresnet_m", num_classes=7, **small)
    add_ml_decoder_head(model, image_shape=(3, 64, 64), **OPTIONS)
    head = model.head.fc
    # The official TResNet numbers convolution and norm where timm names them.
    body = {
        name.replace(".conv.", ".0.").replace(".bn.", ".1."): torch.rand_like(tensor.float())
        for name, tensor in model.state_dict().items()
        if name.startswith("body.conv1.")
    }
    path = tmp_path / "official.pth"
    torch.save({"model": body | to_published(head) | {"body.unknown": torch.ones(1)}}, path)
    report = load_published(model, path)
    assert report.unused == ["body.unknown"]
    assert "body.layer1.0.conv1.conv.weight" in report.untouched
    assert not any(name.startswith(("body.conv1.", "head.")) for name in report.untouched)
    assert torch.equal(model.body.conv1.conv.weight, body["body.conv1.0.weight"])
    assert torch.equal(model.body.conv1.bn.bias, body["body.conv1.1.bias"])


def test_backbone_and_head_of_a_tagger(tmp_path: Path) -> None:
    source = add_ml_decoder_head(timm.create_model("test_resnet"), query_dim=W, **OPTIONS)
    target = add_ml_decoder_head(timm.create_model("test_resnet"), query_dim=W, **OPTIONS)
    path = tmp_path / "words.safetensors"
    tensors = source.backbone.state_dict() | to_published(source.head, prefix="fc.")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    assert load_published(target, path) == ([], [])
    images, queries = torch.rand(2, 3, 64, 64), torch.randn(4, W)
    torch.testing.assert_close(target.eval()(images, queries), source.eval()(images, queries))


@pytest.mark.parametrize("wrap", ["plain", "module", "lightning", "dictionary", "compiled"])
def test_backbone_and_head_from_any_wrapping(tmp_path: Path, wrap: str) -> None:
    source = add_ml_decoder_head(timm.create_model("test_resnet"), 7, **OPTIONS)
    target = add_ml_decoder_head(timm.create_model("test_resnet"), 7, **OPTIONS)
    body = {k: t for k, t in source.state_dict().items() if not k.startswith("fc.")}
    tensors = body | to_published(source.fc, prefix="fc.")
    prefix = {"module": "module.", "lightning": "model."}.get(wrap, "")
    tensors = {prefix + name: tensor for name, tensor in tensors.items()}
    path = tmp_path / "wrapped.pth"
    torch.save({"state_dict": tensors} if wrap == "lightning" else tensors, path)
    if wrap == "dictionary":
        report = load_published(target, {"model": tensors, "epoch": 3})  # type: ignore[dict-item]
    elif wrap == "compiled":
        compiled = cast("nn.Module", torch.compile(target, backend="eager"))
        report = load_published(compiled, path)
    else:
        report = load_published(target, path)
    assert report == ([], [])
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(target.eval()(images), source.eval()(images))


def test_published_tensors_are_copies() -> None:
    head = make_fixed()
    tensors = to_published(head)
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    for parameter in head.parameters():
        parameter.data.add_(1)
    assert all(torch.equal(before[name], tensor) for name, tensor in tensors.items())


def test_heads_that_differ_are_refused_and_left_as_they_were() -> None:
    head = make_fixed()
    before = {name: tensor.clone() for name, tensor in head.state_dict().items()}
    tensors = official(fixed_tensors(), "head.")
    wrong = tensors | {"head.decoder.duplicate_pooling": torch.ones(3, D, 4).double()}
    lacking = {name: t for name, t in tensors.items() if "linear2.bias" not in name}
    for checkpoint, message in [
        (
            official(word_tensors(), "head."),
            "a head of words, for a WordMLDecoder; the model has a",
        ),
        (wrong, r"duplicate_pooling has the shape \(3, 16, 4\), but .* needs \(3, 16, 3\)"),
        (lacking, "lacks the head's tensor layers.0.linear2.bias"),
        ({"fc.weight": torch.ones(2)}, "holds 0 tensors that end with embed_standart.weight"),
        (tensors | official(fixed_tensors(), "fc."), "holds 2 tensors that end with"),
    ]:
        with pytest.raises(InputError, match=message):
            load_published(head, checkpoint)
    assert all(torch.equal(before[name], tensor) for name, tensor in head.state_dict().items())
    with pytest.raises(InputError, match="of fixed classes, for a FixedMLDecoder; the model has"):
        load_published(make_words(), tensors)


def test_what_was_never_published_is_refused() -> None:
    with pytest.raises(InputError, match="has 4 attention heads, but published ones have 8"):
        to_published(FixedMLDecoder(C, 7, num_heads=4, **OPTIONS))
    with pytest.raises(InputError, match="GroupedWordMLDecoder has no published counterpart"):
        to_published(GroupedWordMLDecoder(C, torch.randn(3, W), **OPTIONS))
    with pytest.raises(InputError, match="fixed classes only; choose the style 'official'"):
        to_published(make_words(), "timm")
    with pytest.raises(InputError, match="There is no style 'other'; official and timm are"):
        to_published(make_fixed(), "other")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="Linear holds 0 ML-Decoder heads; expected one"):
        load_published(nn.Linear(1, 1), official(fixed_tensors(), "head."))


def test_files_that_are_no_checkpoint_are_refused(tmp_path: Path) -> None:
    head, path = make_fixed(), tmp_path / "garbage.pth"
    with pytest.raises(InputError, match=r"garbage\.pth does not exist; expected a file"):
        load_published(head, path)
    path.write_bytes(b"no checkpoint")
    with pytest.raises(
        InputError, match=r"garbage\.pth can't be read: it is damaged, or holds other"
    ):
        load_published(head, path)
    torch.save({"model": official(fixed_tensors(), "head."), "args": Fraction(1)}, path)
    with pytest.raises(
        InputError, match=r"holds other things than tensors by name; if you trust it, load it"
    ):
        load_published(head, path)
