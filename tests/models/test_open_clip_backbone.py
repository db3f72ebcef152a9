"""Image towers of open_clip: their tokens, preprocessing, distillation, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.functional import pil_to_tensor

from tests.fakes.parts import randomise
from tests.fakes.towers import TOWERS, WIDTH, make_pair, write_pair
from zsl.data import ImageConfig
from zsl.errors import InputError
from zsl.models import OpenCLIPBackbone, OpenCLIPBackboneConfig
from zsl.preprocessing import evaluation_transform
from zsl.towers import find_architecture, read_tower_images

WITHOUT_PARTS = {"tiny-coca"}
WITH_PARTS = sorted(set(TOWERS) - WITHOUT_PARTS)
PRETRAINED: dict[str, dict[str, Any]] = open_clip.pretrained._PRETRAINED


def size_of(name: str) -> int:
    return int(TOWERS[name]["image_size"])


def reference(name: str, folder: Path) -> Any:
    """The model of `make`, by open_clip alone."""
    return make_pair(name, write_pair(folder / f"{name}.pt", name), size_of(name))


def make(name: str, folder: Path, **changes: Any) -> OpenCLIPBackbone:
    weights = str(write_pair(folder / f"{name}.pt", name))
    return OpenCLIPBackboneConfig(name, weights, **changes).make(size_of(name)).eval()


def random_images(size: int, number: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (number, 3, size, size), generator=generator, dtype=torch.uint8)


def as_open_clip_sees(images: Tensor) -> Tensor:
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (PreprocessCfg.mean, PreprocessCfg.std))
    return (images / 255 - mean) / std


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("name", WITH_PARTS)
@torch.no_grad()
def test_the_first_token_is_the_image_vector_of_open_clip(
    name: str, local: bool, tmp_path: Path
) -> None:
    backbone, images = make(name, tmp_path, local=local), random_images(size_of(name))
    expected = reference(name, tmp_path).encode_image(as_open_clip_sees(images))
    tokens = backbone(images)
    torch.testing.assert_close(tokens[:, 0], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(backbone(images / 255), tokens)
    assert tokens.shape[2] == backbone.token_dim == expected.shape[1]
    assert (tokens.shape[1] > 1) == local
    frozen = make(name, tmp_path, local=local, frozen=True)
    torch.testing.assert_close(frozen(images), tokens.half().float(), rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(frozen(images).half().float(), frozen(images), rtol=0, atol=0)
    assert not any(parameter.requires_grad for parameter in frozen.parameters())


def alone(
    block: Any, tokens: Tensor, norms: tuple[str, str], values: nn.Linear, out: Any
) -> Tensor:
    """The output of a block of which attention returns each token's own value."""
    first, second = (getattr(block, norm) for norm in norms)
    tokens = tokens + out(values(first(tokens)))
    return tokens + block.mlp(second(tokens))


def last_third(weight: Tensor, bias: Tensor) -> nn.Linear:
    width = weight.shape[1]
    linear = nn.Linear(width, width)
    linear.load_state_dict({"weight": weight[2 * width :], "bias": bias[2 * width :]})
    return linear


@torch.no_grad()
def test_a_class_token_leaves_the_values_of_the_last_block_to_the_patches(tmp_path: Path) -> None:
    images = random_images(32)
    visual = reference("tiny-clip", tmp_path).visual
    blocks = visual.transformer.resblocks
    before = blocks[0](visual._embeds(as_open_clip_sees(images)))
    attention = blocks[1].attn
    values = last_third(attention.in_proj_weight, attention.in_proj_bias)
    after = alone(blocks[1], before, ("ln_1", "ln_2"), values, attention.out_proj)
    expected = (visual.ln_post(after) @ visual.proj)[:, 1:]
    torch.testing.assert_close(make("tiny-clip", tmp_path)(images)[:, 1:], expected)
    assert expected.shape == (3, 16, WIDTH)


@torch.no_grad()
def test_a_class_token_of_timm_does_so_too(tmp_path: Path) -> None:
    images = random_images(32)
    trunk = reference("tiny-mobile-b", tmp_path).visual.trunk
    block = trunk.blocks[-1]
    before = trunk.blocks[:-1](trunk._pos_embed(trunk.patch_embed(as_open_clip_sees(images))))
    values = last_third(block.attn.qkv.weight, block.attn.qkv.bias)
    after = trunk.norm(alone(block, before, ("norm1", "norm2"), values, block.attn.proj))
    expected = trunk.head(after[:, 1:])
    torch.testing.assert_close(make("tiny-mobile-b", tmp_path)(images)[:, 1:], expected)


@pytest.mark.parametrize(("name", "prefix"), [("tiny-siglip", 1), ("tiny-pe", 1)])
@torch.no_grad()
def test_attention_pooling_pools_each_patch_alone(name: str, prefix: int, tmp_path: Path) -> None:
    images = random_images(32)
    trunk = reference(name, tmp_path).visual.trunk
    features = trunk.forward_features(as_open_clip_sees(images))
    tokens = make(name, tmp_path)(images)
    assert tokens.shape[1] == 5
    for position in range(4):
        patch = features[:, prefix + position]
        pooled = trunk.head(trunk.fc_norm(trunk.attn_pool(patch[:, None])))
        torch.testing.assert_close(tokens[:, 1 + position], pooled, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["tiny-mean", "tiny-mobile-s"])
@torch.no_grad()
def test_where_a_mean_is_pooled_parts_are_what_it_is_the_mean_of(name: str, tmp_path: Path) -> None:
    weights = str(write_pair(tmp_path / "weights.pt", name))
    config = OpenCLIPBackboneConfig(name, weights)
    # Twice as large: four parts of what is one; position embeddings are resized.
    tokens = config.make(64).eval()(random_images(64))
    assert tokens.shape[1] == 1 + {"tiny-mean": 64, "tiny-mobile-s": 4}[name]
    assert not torch.allclose(tokens[:, 1], tokens[:, 2], rtol=1e-3)
    torch.testing.assert_close(tokens[:, 1:].mean(dim=1), tokens[:, 0], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_resnets_of_clip_project_the_values_of_each_part(tmp_path: Path) -> None:
    images = random_images(64)
    visual = reference("tiny-rn", tmp_path).visual
    features = as_open_clip_sees(images)
    for stage in (visual.stem, visual.layer1, visual.layer2, visual.layer3, visual.layer4):
        features = stage(features)
    tokens = make("tiny-rn", tmp_path)(images)
    for position, (row, column) in enumerate(np.ndindex(2, 2)):
        value = visual.attnpool.v_proj(features[:, :, row, column])
        torch.testing.assert_close(tokens[:, 1 + position], visual.attnpool.c_proj(value))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "RN50",
        "ViT-B-32",
        "ViT-B-16-SigLIP2",
        "PE-Core-T-16-384",
        "MobileCLIP2-S0",
        "MobileCLIP2-B",
        "EVA02-B-16",
        "ViTamin-S",
        "convnext_tiny",
    ],
)
@torch.no_grad()
def test_towers_of_each_family_are_those_of_open_clip(name: str) -> None:
    """At a reduced size, with random weights."""
    images = random_images(96, 2)
    backbone = OpenCLIPBackboneConfig(name, None).make(96).eval()
    visual = open_clip.create_model(name, load_weights=False, force_image_size=96).visual.eval()
    state = backbone.tower.state_dict()
    visual.load_state_dict({key.replace(".block.", "."): state[key] for key in state})
    tokens = backbone(images)
    expected = visual(backbone.normalised(images))
    torch.testing.assert_close(tokens[:, 0], expected, rtol=1e-3, atol=1e-5)
    assert tokens.isfinite().all()
    assert tokens.shape[1] > 4


def test_training_reaches_all_that_the_tokens_depend_on(tmp_path: Path) -> None:
    for name in WITH_PARTS:
        backbone = make(name, tmp_path).train()
        backbone(random_images(size_of(name))).sum().backward()
        trained = [p for p in backbone.parameters() if p.requires_grad]
        assert trained
        assert all(parameter.grad is not None for parameter in trained)


@pytest.mark.parametrize("resize_mode", ["shortest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("shape", [(53, 90), (64, 41), (20, 31)])
def test_squares_are_those_of_open_clip(
    resize_mode: str,
    interpolation: str,
    shape: tuple[int, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tag = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "interpolation": interpolation}
    tag |= {"resize_mode": resize_mode, "file": str(write_pair(tmp_path / "weights.pt"))}
    monkeypatch.setitem(PRETRAINED, "tiny-clip", {"own": tag})
    config = OpenCLIPBackboneConfig("tiny-clip", "own")
    images = config.images
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((shape[1] * 2, shape[0] * 2), Image.Resampling.BICUBIC)
    square = evaluation_transform(images.size, images.resizing)(pil_to_tensor(image))
    found = config.make(32).normalised(square[None])[0]
    visual: Any = open_clip.create_model("tiny-clip", "own").visual
    expected = image_transform_v2(PreprocessCfg(**visual.preprocess_cfg), is_train=False)(image)
    # Rounding to uint8 may come out one level apart.
    torch.testing.assert_close(found, expected, rtol=0, atol=1.01 / 255 / 0.4)


def test_the_preprocessing_of_every_tag_is_known() -> None:
    for name, tag in open_clip.list_pretrained():
        images, config = read_tower_images(name, tag), PRETRAINED[name][tag]
        assert (images.mean, images.std) == (tuple(config["mean"]), tuple(config["std"]))
        assert images.resizing.interpolation == config["interpolation"]
        assert (images.resizing.center_crop is None) == (config["resize_mode"] == "squash")
        own = open_clip.get_model_config(name)["vision_cfg"]["image_size"]
        assert ImageConfig(images.size).size == own


def test_weights_without_a_tag_are_preprocessed_as_the_first_one() -> None:
    assert read_tower_images("ViT-B-16-SigLIP2", None) == read_tower_images(
        "ViT-B-16-SigLIP2", "webli"
    )


def test_weights_trained_with_quick_gelu_have_it() -> None:
    assert find_architecture("ViT-B-16", "openai") == "ViT-B-16-quickgelu"
    assert find_architecture("ViT-B-16", "laion2b_s34b_b88k") == "ViT-B-16"
    for name, tag in open_clip.list_pretrained():
        config = open_clip.get_model_config(find_architecture(name, tag))
        if PRETRAINED[name][tag].get("quick_gelu"):
            assert config["quick_gelu"]


@torch.no_grad()
def test_the_activation_stays_where_weights_are_loaded_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(write_pair(tmp_path / "weights.pt"))
    tag = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "quick_gelu": True, "file": file}
    for name in ("tiny-clip", "tiny-clip-quickgelu"):
        monkeypatch.setitem(PRETRAINED, name, {"own": tag})
    config = OpenCLIPBackboneConfig("tiny-clip", "own")
    backbone, images = config.make(32).eval(), random_images(32)
    restored = config.without_weights().make(32).eval()
    restored.load_state_dict(backbone.state_dict())
    torch.testing.assert_close(restored(images), backbone(images))
    plain = OpenCLIPBackboneConfig("tiny-clip", file).make(32).eval()
    assert not torch.allclose(plain.tower(images / 255), backbone.tower(images / 255))


def test_training_leaves_the_statistics_of_batch_norms(tmp_path: Path) -> None:
    backbone = make("tiny-mobile-s", tmp_path, distillation=1.0).train()
    before = {name: buffer.clone() for name, buffer in backbone.named_buffers()}
    images = random_images(32, 8)
    assert backbone.distance(images, backbone(images)) < 1e-6
    after = dict(backbone.named_buffers())
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_distillation_pulls_the_image_vector_back(tmp_path: Path) -> None:
    images = random_images(32, 8)
    distances = []
    for weight in (1e-6, 100.0):
        backbone = make("tiny-clip", tmp_path, distillation=weight).train()
        assert backbone.distils
        assert backbone.distance(images, backbone(images)).item() < 1e-6
        assert backbone.state_dict().keys() == make("tiny-clip", tmp_path).state_dict().keys()
        optimizer = torch.optim.SGD(backbone.parameters(), lr=0.001)
        for _ in range(30):
            tokens = backbone(images)
            distance = backbone.distance(images, tokens)
            (tokens[:, 0].sum() + weight * distance).backward()
            optimizer.step()
            optimizer.zero_grad()
        distances.append(distance.item())
    assert 0 < distances[1] < distances[0] / 2


def test_the_distance_is_from_the_tower_before_training(tmp_path: Path) -> None:
    images = random_images(32)
    backbone = make("tiny-clip", tmp_path, distillation=1.0)
    before = backbone(images)[:, 0]
    randomise(backbone.tower)
    tokens = backbone(images)
    expected = (tokens[:, 0] - before).abs().mean()
    torch.testing.assert_close(backbone.distance(images, tokens), expected)
    assert expected > 0
    assert F.l1_loss(tokens[:, 1], before) != expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"distillation": -1.0}, "distillation is -1.0; expected 0 or more"),
        ({"distillation": 1.0, "frozen": True}, "backbone.frozen is true: a tower that is not"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        OpenCLIPBackboneConfig(**changes)


@pytest.mark.parametrize(
    ("name", "weights", "size", "message"),
    [
        ("ViT-B-16-Siglip2", None, 32, "has no model 'ViT-B-16-Siglip2'.*mean 'ViT-B-16-SigLIP2'"),
        ("ViT-B-16", "opnai", 32, "'opnai' is not among the weights of ViT-B-16.*'openai'"),
        ("ViT-B-16", "openai", 32, "openai of ViT-B-16 can't be had .*check the connection"),
        ("tiny-clip", "FILE", 32, "can't be read as weights of tiny-clip: "),
        ("tiny-clip", "FOLDER", 32, "holds no weights; expected open_clip_model.safetensors"),
        ("tiny-clip", None, 36, "36 px can't be cut into the patches of 8 px.* e.g. 32"),
        ("tiny-siglip", None, 40, "40 px can't be cut into the patches of 16 px"),
        ("tiny-rn", None, 80, "80 px can't be cut into the patches of 32 px"),
        ("tiny-coca", None, 32, "makes no vectors of parts of an image; set backbone.local fals"),
    ],
)
def test_what_cannot_be_had_is_one_sentence(
    name: str, weights: str | None, size: int, message: str, tmp_path: Path
) -> None:
    if weights == "FILE":
        weights = str(write_pair(tmp_path / "other.pt", "tiny-mobile-s"))
    if weights == "FOLDER":
        weights = str(tmp_path)
    with pytest.raises(InputError, match=message) as error:
        OpenCLIPBackboneConfig(name, weights).make(size)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", sorted(WITHOUT_PARTS))
@torch.no_grad()
def test_towers_without_parts_have_the_image_vector(name: str) -> None:
    tokens = OpenCLIPBackboneConfig(name, None, local=False).make(32).eval()(random_images(32))
    assert tokens.shape == (3, 1, WIDTH)


def test_without_open_clip_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "open_clip", None)
    with pytest.raises(InputError, match="pip install open_clip_torch"):
        OpenCLIPBackboneConfig().make(224)
