from typing import Any

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay
from timm.scheduler import CosineLRScheduler
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR

from zsl.errors import InputError
from zsl.tasks.optimization import OptimizationConfig, schedule_steps, steps_of


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.norm = nn.LayerNorm(2)
        self.register_buffer("constant", torch.rand(4))


def rates(made: Any, steps: int) -> list[list[float]]:
    """The learning rates of all groups at each step."""
    found = []
    for _ in range(steps):
        found.append([group["lr"] for group in made["optimizer"].param_groups])
        made["optimizer"].step()
        if len(found) < steps:
            made["lr_scheduler"]["scheduler"].step()
    return found


@pytest.mark.parametrize("name", ["adam", "adamw", "lamb"])
def test_weight_decay_is_off_for_one_dimensional_parameters(name: str) -> None:
    config = OptimizationConfig(name, learning_rate=0.1, weight_decay=0.3)
    optimizer = config.configure(Model().parameters(), 10)["optimizer"]
    decayed, plain = optimizer.param_groups
    assert type(optimizer).__name__.lower() == name
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.3, 0)
    assert [p.ndim for p in decayed["params"]] == [2]
    assert [p.ndim for p in plain["params"]] == [1, 1, 1]


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_adam_and_adamw_are_those_of_torch_to_the_bit(kind: Any) -> None:
    model, twin = Model(), Model()
    twin.load_state_dict(model.state_dict())
    config = OptimizationConfig(kind.__name__.lower(), learning_rate=0.1, weight_decay=0.3)
    made: Any = config.configure(model.parameters(), 10)
    assert type(made["optimizer"]) is kind
    plain = [parameter for parameter in twin.parameters() if parameter.ndim <= 1]
    groups = [{"params": [twin.linear.weight]}, {"params": plain, "weight_decay": 0.0}]
    expected: Any = kind(groups, lr=0.1, weight_decay=0.3)
    schedule = OneCycleLR(expected, max_lr=0.1, total_steps=10, pct_start=0.2)
    for _ in range(9):
        inputs = torch.rand(4, 3)
        for network, optimizer, stepped in (
            (model, made["optimizer"], made["lr_scheduler"]["scheduler"]),
            (twin, expected, schedule),
        ):
            optimizer.zero_grad()
            network.norm(network.linear(inputs)).square().sum().backward()
            optimizer.step()
            stepped.step()
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_a_fused_optimizer_takes_the_same_steps_and_resumes_either_form(name: str) -> None:
    torch.manual_seed(0)
    gradients = torch.randn(4, 3, 2, 3).unbind()

    def stepped(*forms: bool) -> nn.Module:
        """The model after two steps of each of the forms, which resume one another."""
        model, state = Model(), None
        model.load_state_dict(initial)
        for number, fused in enumerate(forms):
            config = OptimizationConfig(name, 0.1, 0.3, fused=fused)
            optimizer: Any = config.configure(model.parameters(), 10)["optimizer"]
            if state is not None:
                optimizer.load_state_dict(state)
            assert {bool(group["fused"]) for group in optimizer.param_groups} == {fused}
            for gradient in gradients[2 * number : 2 * number + 2]:
                model.linear.weight.grad = gradient[0]
                model.norm.weight.grad = gradient[1, 0, :2].clone()
                optimizer.step()
            state = optimizer.state_dict()
        return model

    initial = Model().state_dict()
    expected = stepped(False, False)
    for forms in ((True, True), (True, False), (False, True)):
        for one, other in zip(stepped(*forms).parameters(), expected.parameters(), strict=True):
            torch.testing.assert_close(one, other)


def test_a_fused_optimizer_is_the_default_on_gpus_unless_scaled_gradients_are_clipped() -> None:
    class OnGPU(nn.Parameter):
        is_cuda = True

    def is_fused(name: str, parameter: nn.Parameter, clips_scaled: bool = False) -> bool:
        made = OptimizationConfig(name).configure([parameter], 10, clips_scaled=clips_scaled)
        return bool(made["optimizer"].param_groups[0].get("fused"))

    here, there = nn.Parameter(torch.ones(2, 2)), OnGPU(torch.ones(2, 2))
    assert is_fused("adamw", there)
    assert not is_fused("adamw", here)
    assert not is_fused("lamb", there)
    assert not is_fused("adamw", there, clips_scaled=True)
    with pytest.raises(InputError, match="cannot have the gradients of"):
        OptimizationConfig(fused=True).configure([here], 10, clips_scaled=True)


@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_layers_get_the_rates_and_decays_that_timm_gives_them(name: str) -> None:
    """Against the whole model of timm, with its own classifier in place of the head."""
    whole = timm.create_model(name, num_classes=3)
    names = {id(parameter): name for name, parameter in whole.named_parameters()}
    kept: Any = getattr(whole, "no_weight_decay", set)()
    expected = {
        names[id(parameter)]: (0.1 * group["lr_scale"], group["weight_decay"])
        for group in param_groups_layer_decay(whole, 0.3, kept, layer_decay=0.5)
        for parameter in group["params"]
    }
    backbone = timm.create_model(name, num_classes=0, global_pool="")
    head = nn.Linear(4, 3)
    config = OptimizationConfig(learning_rate=0.1, weight_decay=0.3, layer_decay=0.5)
    frozen, *trained = backbone.parameters()
    frozen.requires_grad_(False)
    made: Any = config.configure([*head.parameters(), *trained], 10, backbone)
    classifier = whole.pretrained_cfg["classifier"]
    own = {id(p): n for n, p in backbone.named_parameters()}
    own |= {id(p): f"{classifier}.{n}" for n, p in head.named_parameters()}
    found = {
        own[id(parameter)]: (group["initial_lr"] * 25, group["weight_decay"])
        for group in made["optimizer"].param_groups
        for parameter in group["params"]
    }
    frozen_name = own[id(frozen)]
    del expected[frozen_name]
    assert found.keys() == expected.keys()
    for parameter, wanted in expected.items():
        assert found[parameter] == pytest.approx(wanted)
    assert found[f"{classifier}.weight"] == pytest.approx((0.1, 0.3))
    assert len({rate for rate, _ in found.values()}) > 4
    highest = [max(group) for group in zip(*rates(made, 10), strict=True)]
    peaks = [group["lr_scale"] * 0.1 for group in made["optimizer"].param_groups]
    assert highest == pytest.approx(peaks)


def test_layer_decay_needs_a_model_of_timm() -> None:
    config = OptimizationConfig(layer_decay=0.5)
    with pytest.raises(InputError, match=r"layer_decay is 0.5, but the backbone is not a timm"):
        config.configure(Model().parameters(), 10, Model())


@pytest.mark.parametrize("warmup", [0.0, 0.1])
def test_the_cosine_is_that_of_timm_step_by_step(warmup: float) -> None:
    backbone = timm.create_model("test_resnet", num_classes=0)
    config = OptimizationConfig(
        "adamw", 4e-3, schedule="cosine", warmup=warmup, layer_decay=0.5 if warmup else None
    )
    made: Any = config.configure(backbone.parameters(), 50, backbone)
    other: Any = config.configure(backbone.parameters(), 50, backbone)["optimizer"]
    for group in other.param_groups:
        # Its scheduler applies the scale itself.
        group["lr"] = group["initial_lr"] = 4e-3
    schedule = CosineLRScheduler(
        other,
        t_initial=50,
        lr_min=1e-6,
        warmup_t=round(warmup * 50),
        warmup_lr_init=1e-4,
        t_in_epochs=False,
    )
    schedule.step_update(0)
    expected = []
    for step in range(50):
        expected.append([group["lr"] for group in other.param_groups])
        schedule.step_update(step + 1)
    for found, wanted in zip(rates(made, 50), expected, strict=True):
        assert found == pytest.approx(wanted)
    made["lr_scheduler"]["scheduler"].step()
    last = [group["lr"] for group in made["optimizer"].param_groups]
    assert last == pytest.approx([group["lr"] for group in other.param_groups])


@pytest.mark.parametrize("kind", ["one_cycle", "cosine"])
def test_a_saved_schedule_knows_its_length(kind: Any) -> None:
    config = OptimizationConfig(schedule=kind)
    made: Any = config.configure(Model().parameters(), 30)
    schedule = made["lr_scheduler"]["scheduler"]
    assert steps_of(schedule.state_dict()) == schedule.total_steps == 30


@pytest.mark.parametrize("name", ["sgd", "adagrad", "lion"])
@pytest.mark.parametrize("kind", ["one_cycle", "cosine"])
def test_other_optimizers_follow_both_schedules(name: str, kind: Any) -> None:
    config = OptimizationConfig(name, learning_rate=0.1, schedule=kind)
    found = rates(config.configure(Model().parameters(), 20), 20)
    assert max(found)[0] == pytest.approx(0.1, rel=0.15)
    assert found[-1][0] < 0.002


def test_an_optimizer_that_lacks_its_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"optimizer 'fusedlamb' can't be made: "):
        OptimizationConfig("fusedlamb").configure(Model().parameters(), 10)


@pytest.mark.parametrize("steps", [1, 2, 5, 10, 100])
def test_the_schedule_rises_and_falls_whatever_its_length(steps: int) -> None:
    length = schedule_steps(steps, None)
    made: Any = OptimizationConfig(learning_rate=0.1, warmup=0.2).configure(
        Model().parameters(), length
    )
    found = [first for first, *_ in rates(made, length)]
    assert length == max(10, steps)
    peak = found.index(max(found))
    assert found[:peak] == sorted(found[:peak])
    assert found[peak:] == sorted(found[peak:], reverse=True)
    assert max(found) == pytest.approx(0.1)
    assert peak == max(1, round(0.2 * length) - 1)


def test_a_resumed_schedule_must_be_as_long() -> None:
    assert schedule_steps(40, 40) == 40
    with pytest.raises(InputError, match=r"schedule has 50 steps, this run's has 40; resume with"):
        schedule_steps(40, 50)


@pytest.mark.parametrize("warmup", [True, False])
def test_the_moving_average_may_start_short_and_keeps_constants_exact(warmup: bool) -> None:
    callback: Any
    (callback,) = OptimizationConfig(ema_decay=0.9, ema_warmup=warmup).callbacks()
    model: Any = Model()
    averaged: Any = torch.optim.swa_utils.AveragedModel(model, **callback._kwargs, use_buffers=True)
    expected = None
    for count in range(5):
        with torch.no_grad():
            model.linear.weight.copy_(torch.randn(2, 3))
        weight = model.linear.weight.detach().clone()
        decay = min(0.9, (1 + count) / (10 + count)) if warmup else 0.9
        expected = weight if expected is None else decay * expected + (1 - decay) * weight
        averaged.update_parameters(model)
        torch.testing.assert_close(averaged.module.linear.weight.detach(), expected)
    assert torch.equal(averaged.module.constant, model.constant)
    assert OptimizationConfig().callbacks() == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 0.0}, "optimization.learning_rate is 0.0; expected above 0"),
        ({"weight_decay": -1.0}, "optimization.weight_decay is -1.0; expected 0 or more"),
        ({"warmup": 1.0}, "optimization.warmup is 1.0; expected 0 to below 1"),
        ({"optimizer": "lamm"}, r"optimizer is 'lamm'; .* Did you mean 'lamb'"),
        ({"optimizer": "adahessian"}, "'adahessian' needs second derivatives"),
        ({"schedule": "step"}, "schedule is 'step'; expected one_cycle or cosine"),
        ({"layer_decay": 0.0}, "layer_decay is 0.0; expected above 0, at most 1, or null"),
        ({"ema_decay": 1.0}, "optimization.ema_decay is 1.0; expected between 0 and 1"),
        ({"optimizer": "lamb", "fused": True}, "fused is true, but PyTorch has no fused lamb"),
    ],
)
def test_unknown_names_and_numbers_out_of_range_are_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        OptimizationConfig(**changes)
