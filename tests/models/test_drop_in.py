import copy
import pickle
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from zsl.errors import InputError
from zsl.models import FixedMLDecoder, TaggerNetwork, add_ml_decoder_head, group_labels
from zsl.models.tokens import ToTokens

OPTIONS: dict[str, Any] = {"embed_dim": 16, "feedforward_dim": 16}

FAMILIES: dict[str, tuple[int, int]] = {
    # name: (image size, number of tokens)
    "test_resnet": (64, 4),
    "test_efficientnet": (64, 4),
    "mobilenetv3_small_050": (64, 4),
    "test_convnext": (64, 4),
    "test_nfnet": (64, 4),
    "test_byobnet": (64, 4),
    "test_mambaout": (64, 4),  # A map with its channels last.
    "test_coatnet": (64, 4),
    "test_vit": (64, 16),
    "test_vit_relpos": (64, 16),  # No class token.
}
FULL_SIZE = {
    "regnetx_002": (64, 4),
    "tresnet_m": (64, 4),
    "mobilevit_xxs": (64, 4),
    "poolformer_s12": (64, 4),
    "pvt_v2_b0": (64, 4),
    "deit_tiny_patch16_224": (64, 16),
    "eva02_tiny_patch14_224": (56, 16),
    "swin_tiny_patch4_window7_224": (64, 4),
    "gmixer_12_224": (64, 16),
}
TWO_CLASSIFIERS = {"tiny efficientformer_l1": (224, 49)}
FULL_SIZE_TWO_CLASSIFIERS = {"efficientformer_l1": (224, 49), "levit_128s": (224, 16)}
ALL = FAMILIES | FULL_SIZE | TWO_CLASSIFIERS | FULL_SIZE_TWO_CLASSIFIERS
SIZED = ("test_vit", "deit", "eva02", "swin", "gmixer", "coatnet")


def slow(*names: str) -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


two_classifiers = [*TWO_CLASSIFIERS, *slow(*FULL_SIZE_TWO_CLASSIFIERS)]


def make(name: str, **options: Any) -> tuple[Any, tuple[int, int, int]]:
    """A model, and the shape of the images above, which most convolutions take as they are."""
    image_size, _ = ALL[name]
    if not timm.is_model(name.removeprefix("tiny ")):
        pytest.skip(f"timm {timm.__version__} has no {name}")
    if any(part in name for part in SIZED):
        options["img_size"] = image_size
    if name.startswith("tiny"):
        options |= {"depths": (1, 1, 1, 1), "embed_dims": (16, 16, 16, 32)}
    return timm.create_model(name.removeprefix("tiny "), **options), (3, image_size, image_size)


def shape_of_tokens(head: nn.Module) -> list[torch.Size]:
    """Records the shapes of the tokens that the head will take."""
    shapes: list[torch.Size] = []
    head.get_submodule("to_tokens").register_forward_hook(
        lambda module, args, tokens: shapes.append(tokens.shape)
    )
    return shapes


@pytest.mark.parametrize("name", [*FAMILIES, *slow(*FULL_SIZE)])
def test_head_stands_where_the_classifier_was(name: str) -> None:
    _, num_tokens = ALL[name]
    model, shape = make(name, num_classes=5)
    assert add_ml_decoder_head(model, 7, 3, image_shape=shape, **OPTIONS) is model
    head = model.get_classifier()
    assert isinstance(head, FixedMLDecoder)
    assert model.num_classes == 7
    assert model.training == head.training
    shapes = shape_of_tokens(head)
    logits = model(torch.rand(2, *shape))
    assert logits.shape == (2, 7)
    assert shapes == [(2, num_tokens, head.embed_tokens.in_features)]
    logits.sum().backward()
    assert next(model.parameters()).grad is not None


@pytest.mark.parametrize(
    "name", [*two_classifiers, "test_resnet", "test_vit", *slow("mobilevit_xxs")]
)
def test_words_on_models_of_any_kind(name: str) -> None:
    _, num_tokens = ALL[name]
    model, shape = make(name)
    tagger = add_ml_decoder_head(model, query_dim=12, image_shape=shape, **OPTIONS)
    assert isinstance(tagger, TaggerNetwork)
    shapes = shape_of_tokens(tagger.head)
    assert tagger(torch.rand(2, *shape), torch.randn(5, 12)).shape == (2, 5)
    assert shapes[0][1] == num_tokens


def test_groups_of_words() -> None:
    vectors = torch.randn(40, 12)
    model = timm.create_model("test_resnet")
    tagger = add_ml_decoder_head(model, group_queries=group_labels(vectors, 6), **OPTIONS)
    assert tagger(torch.rand(2, 3, 64, 64), vectors).shape == (2, 40)


@pytest.mark.parametrize("name", two_classifiers)
def test_a_model_with_two_classifiers_gets_the_head_after_it(name: str) -> None:
    _, num_tokens = ALL[name]
    model, shape = make(name)
    tagger = add_ml_decoder_head(model, 7, image_shape=shape, **OPTIONS)
    assert isinstance(tagger, TaggerNetwork)
    shapes = shape_of_tokens(tagger.head)
    assert tagger(torch.rand(2, *shape)).shape == (2, 7)
    assert shapes[0][1] == num_tokens


def test_features_and_scores_are_those_of_the_parts() -> None:
    torch.manual_seed(0)
    model, shape = make("test_vit")
    features = copy.deepcopy(model.eval())
    features.reset_classifier(0, "")
    add_ml_decoder_head(model, image_shape=shape, **OPTIONS)
    images = torch.rand(2, *shape)
    everything = features(images)
    assert everything.shape[1] == 17  # The class token is one of them.
    torch.testing.assert_close(model(images), model.head(everything))
    shuffled = torch.cat([torch.randn(2, 1, 64), everything[:, 1:]], dim=1)
    torch.testing.assert_close(model(images), model.head(shuffled))
    assert model(images).shape == (2, 1000)


def test_other_image_sizes_and_channels_than_timms_default() -> None:
    model = timm.create_model("test_vit", img_size=64, in_chans=1, num_classes=4)
    add_ml_decoder_head(model, image_shape=(1, 64, 64), **OPTIONS)
    assert model(torch.rand(2, 1, 64, 64)).shape == (2, 4)


def test_it_can_be_copied_pickled_and_trained_again_with_another_head() -> None:
    model = add_ml_decoder_head(timm.create_model("test_resnet"), 7, **OPTIONS).eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = model(images)
        assert torch.equal(copy.deepcopy(model)(images), expected)
        assert torch.equal(pickle.loads(pickle.dumps(model))(images), expected)
    assert model.fc is model.get_classifier()
    assert add_ml_decoder_head(model, 9, **OPTIONS)(images).shape == (2, 9)


def fail(images: Tensor) -> Tensor:
    raise RuntimeError("Cannot pool")


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (fail, r"test_resnet without its pooling gives an ML-Decoder head no tokens \(Cannot pool"),
        (lambda images: [images], "features of test_resnet before the classifier have parts"),
        (lambda images: images.mean((2, 3)), r"before the classifier have the shape \(1, 3\); an"),
        (lambda images: images[:, :, :1, :1], "gives 1 spatial tokens before the classifier"),
    ],
)
def test_models_without_tokens_are_refused_and_unchanged(
    forward: Callable[[Tensor], Any], message: str
) -> None:
    model = timm.create_model("test_resnet", num_classes=5)
    model.forward = forward
    check_refused(model, message)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "efficientvit_b0",
            r"efficientvit_b0 without its pooling gives an ML-Decoder head no tokens \(Cannot",
        ),
        ("crossvit_9_240", "crossvit_9_240 without its pooling gives an ML-Decoder"),
        ("efficientvim_m1", "features of efficientvim_m1 before the classifier have parts"),
        ("pit_ti_224", "pit_ti_224 gives 0 spatial tokens before the classifier"),
    ],
)
def test_full_size_models_without_tokens_are_refused(name: str, message: str) -> None:
    check_refused(timm.create_model(name, num_classes=5), message)


def check_refused(model: Any, message: str) -> None:
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(InputError, match=message):
        add_ml_decoder_head(model, **OPTIONS)
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model.num_classes == 5
    assert model.training


def test_wrong_requests_are_refused() -> None:
    model = timm.create_model("test_resnet")
    with pytest.raises(InputError, match="Linear is not a timm model with a classifier"):
        add_ml_decoder_head(nn.Linear(3, 3))
    with pytest.raises(InputError, match="FeatureListNet is not a timm model"):
        add_ml_decoder_head(timm.create_model("test_resnet", features_only=True))
    with pytest.raises(InputError, match="query_dim and group_queries are two modes"):
        add_ml_decoder_head(model, query_dim=3, group_queries=torch.ones(2, 3))
    with pytest.raises(InputError, match="num_classes and num_groups are for fixed classes"):
        add_ml_decoder_head(model, 7, query_dim=3)
    with pytest.raises(InputError, match="num_groups is 9; expected 1 to num_classes, 7"):
        add_ml_decoder_head(model, 7, 9)
    with pytest.raises(InputError, match="test_resnet has no classes of its own; give num_class"):
        add_ml_decoder_head(timm.create_model("test_resnet", num_classes=0))
    with pytest.raises(InputError, match="model is compiled; add the head first"):
        add_ml_decoder_head(torch.compile(model, backend="eager"))
    with pytest.raises(InputError, match="dropout is 2; expected 0 to below 1"):
        add_ml_decoder_head(model, dropout=2)
    assert model.num_classes == 1000


def test_trouble_of_the_head_is_not_taken_for_a_missing_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(FixedMLDecoder, "forward", lambda self, features: fail(features))
    with pytest.raises(RuntimeError, match="Cannot pool"):
        add_ml_decoder_head(timm.create_model("test_resnet"), **OPTIONS)


def test_the_class_token_of_old_models_is_no_spatial_token() -> None:
    model = SimpleNamespace(cls_token=torch.zeros(1, 1, 3))
    assert ToTokens.of(model).num_prefix_tokens == 1
    assert ToTokens.of(SimpleNamespace()).num_prefix_tokens == 0
    assert ToTokens.of(timm.create_model("test_vit")).num_prefix_tokens == 1
