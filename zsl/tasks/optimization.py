"""How weights are optimised: what a task holds of it, whatever it trains."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal

from pytorch_lightning.callbacks import Callback, WeightAveraging
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from timm.optim import (
    create_optimizer_v2,
    get_optimizer_info,
    list_optimizers,
    param_groups_layer_decay,
)
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR
from torch.optim.swa_utils import get_ema_multi_avg_fn

from zsl.errors import InputError, did_you_mean, reason_of, require


@dataclass(frozen=True)
class OptimizationConfig:
    """Optimizer, schedule of the learning rate and moving average of the weights.

    Args:
        optimizer: `adamw`, or `adam`, which adds the weight decay to the gradient, or any other
            name of `timm.optim.list_optimizers()`, such as `lamb`.
        learning_rate: Peak of the schedule.
        weight_decay: Decay of all weights but biases and norms.
        schedule: `one_cycle`, or `cosine`, the one of timm's training script: a straight rise from
            1/40 of the peak, then half a cosine down to 1/4000 of it.
        warmup: Fraction of the training over which the learning rate rises.
        layer_decay: Multiplies the learning rate of each layer of a timm backbone by this factor
            for each layer above it, the head's being the highest, as timm and BEiT
            (arXiv 2106.08254) do. None trains all layers at one rate.
        ema_decay: Decay per step of the moving average of the weights, which is what is
            validated and saved. None turns it off.
        ema_warmup: Takes (1 + n) / (10 + n) as the decay of step n where that is less, so that
            short runs gain too; else it is constant from the first step.
        fused: Whether PyTorch's fused form of adam, adamw or sgd does the step: one pass over the
            weights instead of several, equal but for rounding. None takes it on GPUs, where there
            is one and nothing stands against it.

    Raises:
        InputError: A number is out of range, or a name is unknown.
    """

    optimizer: str = "adamw"
    learning_rate: float = 1e-4
    weight_decay: float = 1e-2
    schedule: Literal["one_cycle", "cosine"] = "one_cycle"
    warmup: float = 0.2
    layer_decay: float | None = None
    ema_decay: float | None = None
    ema_warmup: bool = True
    fused: bool | None = None

    def __post_init__(self) -> None:
        """Refuses unknown names and numbers out of range."""
        _check_optimizer(self.optimizer)
        rate, decay = self.learning_rate, self.weight_decay
        require(rate > 0, f"optimization.learning_rate is {rate}; expected above 0.")
        require(decay >= 0, f"optimization.weight_decay is {decay}; expected 0 or more.")
        require(
            0 <= self.warmup < 1, f"optimization.warmup is {self.warmup}; expected 0 to below 1."
        )
        require(
            self.schedule in ("one_cycle", "cosine"),
            f"optimization.schedule is {self.schedule!r}; expected one_cycle or cosine.",
        )
        require(
            self.layer_decay is None or 0 < self.layer_decay <= 1,
            f"optimization.layer_decay is {self.layer_decay}; expected above 0, at most 1, or "
            "null.",
        )
        require(
            self.ema_decay is None or 0 < self.ema_decay < 1,
            f"optimization.ema_decay is {self.ema_decay}; expected between 0 and 1, or null.",
        )
        require(
            not self.fused or self._has_fused,
            f"optimization.fused is true, but PyTorch has no fused {self.optimizer}; leave fused "
            "out, or take adam, adamw or sgd.",
        )

    @property
    def _has_fused(self) -> bool:
        return get_optimizer_info(self.optimizer).opt_class in (Adam, AdamW, SGD)

    def configure(
        self,
        parameters: Iterable[nn.Parameter],
        steps: int,
        backbone: nn.Module | None = None,
        clips_scaled: bool = False,
    ) -> OptimizerLRSchedulerConfig:
        """Makes the optimizer, without decay on 1-d parameters, and its schedule per step.

        Args:
            parameters: What is trained.
            steps: Length of the schedule, from `schedule_steps`.
            backbone: The timm model whose layers `layer_decay` is about.
            clips_scaled: Whether gradients are clipped after the scale of float16 was taken out
                of them, which a fused optimizer does itself, and so too late.

        Raises:
            InputError: The optimizer can't be made, or not fused, or there are no layers to tell
                apart.
        """
        trained = list(parameters)
        require(
            not (self.fused and clips_scaled),
            "optimization.fused is true, but a fused optimizer cannot have the gradients of "
            "trainer.precision 16-mixed clipped; leave fused or trainer.gradient_clip_val out, or "
            "take bf16-mixed.",
        )
        is_fused = self.fused
        if is_fused is None:
            is_fused = self._has_fused and not clips_scaled and all(p.is_cuda for p in trained)
        options = {"fused": True} if is_fused else {}
        if self.layer_decay is None:
            groups: Any = [
                {"params": [p for p in trained if p.ndim > 1]},
                {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
            ]
        else:
            groups = self._layer_groups(trained, self.layer_decay, backbone)
        try:
            optimizer = create_optimizer_v2(
                groups, self.optimizer, self.learning_rate, self.weight_decay, **options
            )
        except Exception as error:  # Those of other packages fail in many ways without them.
            raise InputError(
                f"optimization.optimizer {self.optimizer!r} can't be made: {reason_of(error)}"
            ) from error
        if self._has_fused:
            optimizer.register_load_state_dict_pre_hook(_keep_own_form)
        schedule = self._schedule(optimizer, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _layer_groups(
        self, trained: list[nn.Parameter], decay: float, backbone: Any
    ) -> list[dict[str, Any]]:
        """Returns timm's groups of a model whose classifier is what is not the backbone."""
        config = getattr(backbone, "pretrained_cfg", {})
        classifier = config.get("classifier")
        if classifier is None:
            raise InputError(
                f"optimization.layer_decay is {decay}, but the backbone is not a timm model, so "
                "its layers are not known; set layer_decay null, or take a backbone of timm."
            )
        head = classifier if isinstance(classifier, str) else classifier[0]
        named = dict(backbone.named_parameters())
        own = set(map(id, named.values()))
        others = [parameter for parameter in trained if id(parameter) not in own]
        named |= {f"{head}.{number}": parameter for number, parameter in enumerate(others)}
        model: Any = SimpleNamespace(pretrained_cfg=config, named_parameters=named.items)
        if hasattr(backbone, "group_matcher"):
            model.group_matcher = backbone.group_matcher
        groups: list[dict[str, Any]] = param_groups_layer_decay(
            model,
            self.weight_decay,
            getattr(backbone, "no_weight_decay", set)(),
            layer_decay=decay,
        )
        return [group | {"lr": self.learning_rate * group["lr_scale"]} for group in groups]

    def _schedule(self, optimizer: Optimizer, steps: int) -> LRScheduler:
        schedule: Any
        if self.schedule == "one_cycle":
            schedule = OneCycleLR(
                optimizer,
                max_lr=[group["lr"] for group in optimizer.param_groups],
                total_steps=steps,
                # OneCycleLR divides by zero where the first phase is one step long.
                pct_start=max(self.warmup, 2 / steps),
                cycle_momentum=not optimizer.defaults.keys().isdisjoint(("betas", "momentum")),
            )
        else:
            rise = round(self.warmup * steps)
            schedule = LambdaLR(optimizer, lambda step: _cosine(step, rise, steps))
            schedule.total_steps = steps  # Saved with its state, as OneCycleLR's is.
        return schedule

    def callbacks(self) -> list[Callback]:
        """The moving average of the weights."""
        decay = self.ema_decay
        if decay is None:
            return []

        def average(averaged: Any, current: Any, count: Any) -> None:
            n = int(count)
            now = min(decay, (1 + n) / (10 + n)) if self.ema_warmup else decay
            # The multi-tensor average leaves constant buffers such as label vectors exact.
            get_ema_multi_avg_fn(now)(averaged, current, count)

        return [WeightAveraging(multi_avg_fn=average)]


def _keep_own_form(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """Returns a saved state that leaves the optimizer fused or not, as it was made."""
    pairs = zip(state["param_groups"], optimizer.param_groups, strict=False)
    groups = [saved | {"fused": own["fused"]} for saved, own in pairs]
    return state | {"param_groups": groups}


def _check_optimizer(name: str) -> None:
    """Refuses a name that timm does not know, or what needs the gradient of the gradient."""
    names = list_optimizers()
    require(
        name in names,
        f"optimization.optimizer is {name!r}; expected adamw, adam, or another name of "
        f"timm.optim.list_optimizers().{did_you_mean(name, names)}",
    )
    require(
        not get_optimizer_info(name).second_order,
        f"optimization.optimizer {name!r} needs second derivatives, which the training does not "
        "compute; take another.",
    )


def _cosine(step: int, rise: int, steps: int) -> float:
    """Returns the learning rate of a step relative to the peak.

    As timm's `CosineLRScheduler` with `warmup_lr` 1e-4 and `min_lr` 1e-6, the defaults of its
    training script when its A2 recipe was published, at the recipe's peak of 4e-3: the cosine
    begins at step 0, under the rise, and other peaks keep the ratios.
    """
    start, end = 1 / 40, 1 / 4000
    if step < rise:
        return start + (1 - start) * step / rise
    return end + (1 - end) * (1 + math.cos(math.pi * min(1, step / steps))) / 2


def steps_of(state: Mapping[str, Any]) -> int:
    """Returns the steps of a schedule from its saved state."""
    steps: int = state["total_steps"]
    return steps


def schedule_steps(planned: float, resumed: int | None) -> int:
    """Returns the steps of the schedule: those of the run, but enough for a rise and a fall.

    Args:
        planned: Steps of the run.
        resumed: Steps of the schedule of the run that is resumed, if one is.

    Raises:
        InputError: The two differ, or the run has no end.
    """
    require(
        math.isfinite(planned),
        "The training has no end that is known in steps, which the schedule needs; set "
        "trainer.max_epochs or trainer.max_steps, and trainer.max_time besides.",
    )
    steps = max(10, int(planned))
    require(
        resumed in (None, steps),
        f"The checkpoint's schedule has {resumed} steps, this run's has {steps}; resume "
        "with the same epochs, data, batch size and accumulated batches.",
    )
    return steps
