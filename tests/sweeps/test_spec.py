from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.distributions import FloatDistribution, IntDistribution
from wandb.apis.public.sweeps import _validate_config_and_fill_distribution
from wandb.sdk.launch.sweeps.utils import (
    create_sweep_command,
    create_sweep_command_args,
    load_sweep_config,
)

from tests.sweeps.fakes import write
from zsl.commands.configs import config_names, find_sweep, shipped_configs, sweep_names
from zsl.commands.fit_cli import parse
from zsl.errors import InputError
from zsl.metrics import KS
from zsl.sweeps.parameters import Range, read_parameter
from zsl.sweeps.results import resolved
from zsl.sweeps.spec import FIGURES, METRICS, read_sweep

pytestmark = pytest.mark.filterwarnings("ignore:LightningCLI's args parameter")


def _range(kind: str, low: float, high: float, **more: float) -> dict[str, Any]:
    return {"parameters": {"a": {"distribution": kind, "min": low, "max": high} | more}}


def test_a_grid_has_every_combination_once(in_tmp_path: Path) -> None:
    parameters = {
        "model": {"values": [{"query_noise": 0.5}, {"query_dropout": 0.3}]},
        "seed_everything": {"values": [0, 1, 2]},
    }
    sweep = read_sweep(write(parameters=parameters), ["--data.num_train=8"])
    points = sweep.points()
    assert len(points) == 6
    assert points[0] == {"model": {"query_noise": 0.5}, "seed_everything": 0}
    assert sweep.args == ["--config=shapes.yaml", "--data.num_train=8"]
    assert sweep.fit_args(points[0])[-2:] == ["--model={'query_noise': 0.5}", "--seed_everything=0"]
    examples = sweep.examples()
    assert len(examples) == 3
    for name in parameters:
        assert {str(point[name]) for point in points} == {str(point[name]) for point in examples}
    assert len(read_sweep(write(parameters=parameters), count=4).points()) == 4
    assert read_sweep(write(), wandb=True).args[1:] == ["--config=loggers/wandb.yaml"]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"min": 1, "max": 4}, IntDistribution(1, 4)),
        ({"min": 0.0, "max": 1.0}, FloatDistribution(0, 1)),
        ({"min": 0, "max": 1, "distribution": "uniform"}, FloatDistribution(0, 1)),
        (
            {"min": 0, "max": 40, "q": 10, "distribution": "q_uniform"},
            IntDistribution(0, 40, step=10),
        ),
        (
            {"min": 0.0, "max": 1.0, "q": 0.5, "distribution": "q_uniform"},
            FloatDistribution(0, 1, step=0.5),
        ),
        (
            {"min": 0.1, "max": 1, "distribution": "log_uniform_values"},
            FloatDistribution(0.1, 1, log=True),
        ),
    ],
)
def test_ranges_are_those_of_wandb(entry: dict[str, Any], expected: Any) -> None:
    parameter = read_parameter(entry, "here")
    assert isinstance(parameter, Range)
    assert parameter.distribution == expected


def test_choices_may_be_anything() -> None:
    values = [{"a": None}, True, 1, "1", [2]]
    for entry in ({"values": values}, {"values": values, "distribution": "categorical"}):
        choice = read_parameter(entry, "here")
        texts: Any = choice.distribution
        assert [choice.value(text) for text in texts.choices] == values
        assert choice.draw() in values
    assert read_parameter({"value": 3}, "here").examples() == [3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "tpe"}, "method is 'tpe'; expected grid, random or bayes"),
        ({"method": "random"}, "has no end; set run_cap in the file, or --count"),
        ({"run_cap": 0}, "the number of trials is 0"),
        ({"name": "a/b"}, "expected one that can name a folder"),
        ({"metrc": 1}, "'metrc' is nothing that can be run here"),
        ({"metrc": 1}, "Did you mean 'metric'?"),
        ({"metric": "val/zsl/mAP"}, "expected {name: val/zsl/mAP, goal: maximize}"),
        ({"metric": {"name": "val/zsl/mAP"}}, "expected {name: val/zsl/mAP, goal: maximize}"),
        ({"metric": {"name": "val/zsl/map", "goal": "maximize"}}, "Did you mean 'val/zsl/mAP'"),
        ({"metric": {"name": "test/zsl/mAP", "goal": "maximize"}}, "never sees the unseen labels"),
        ({"metric": {"name": "val/zsl/mAP", "goal": "up"}}, "expected maximize or minimize"),
        ({"program": "train.py"}, "program is 'train.py'"),
        ({"command": ["${program}", "${args}"]}, "expected one like [${env}"),
        ({"command": ["-m", "${program}", "${args_no_hyphens}"]}, "expected one like [${env}"),
        ({"command": ["-m", "${program}", "${envvar:X}", "${args}"]}, "can't be filled in here"),
        ({"parameters": {}}, "at least one parameter"),
        ({"parameters": {"a": 3}}, "parameter a is 3; expected a mapping"),
        ({"parameters": {"a": {"parameters": {}}}}, "parameter a has 'parameters'"),
        ({"parameters": {"a": {"distribution": "normal", "mu": 1}}}, "parameter a has 'mu'"),
        ({"parameters": {"a": {"distribution": "normal"}}}, "the distribution 'normal'"),
        ({"parameters": {"a": {"values": []}}}, "expected a list of at least one"),
        ({"parameters": {"a": {"min": 0.0, "max": 1.0}}}, "is a range; a grid needs values"),
        ({"parameters": {"a": {"min": 0}}}, "parameter a has no max"),
        ({"parameters": {"a": {"min": "1e-4", "max": 1}}}, "YAML reads 1e-4 as a text"),
        ({"parameters": {"a": {"min": 2, "max": 1}}}, "expected min below max"),
        ({"parameters": {"a": {"min": 0, "max": 1.0}}}, "two whole numbers or two with a point"),
        (_range("int_uniform", 0.5, 2), "expected whole numbers for int_uniform"),
        (_range("log_uniform_values", 0, 1), "expected above 0"),
        (_range("q_uniform", 0, 1, q=0), "has q 0"),
        ({"early_terminate": {"type": "envelope"}}, "expected {type: hyperband"),
        ({"early_terminate": {"type": "hyperband"}}, "neither min_iter nor both max_iter and s"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 0}}, "expected 1 or more"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 1, "x": 1}}, "has x"),
    ],
)
@pytest.mark.usefixtures("in_tmp_path")
def test_what_can_not_be_run_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as refused:
        read_sweep(write(**changes))
    assert message in str(refused.value)
    assert str(refused.value).startswith("tiny.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method: [grid\nmetric: {}", "tiny.yaml, line 2 is no YAML: expected"),
        ("- a", "holds no mapping"),
        ("method: grid", "has no metric"),
    ],
)
@pytest.mark.usefixtures("in_tmp_path")
def test_another_file_is_refused(text: str, message: str) -> None:
    Path("tiny.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        read_sweep("tiny.yaml")


def test_the_metrics_are_those_of_a_validation() -> None:
    assert {f"{name}@{k}" for name in ("P", "R", "F1") for k in KS} | {"mAP"} == set(FIGURES)
    assert "val/harmonic_mAP" in METRICS


def test_sweep_files_are_no_configs() -> None:
    assert len(sweep_names()) == 3
    assert not set(sweep_names()) & set(config_names())
    with pytest.raises(InputError, match="Did you mean 'sweeps/query_augmentation"):
        find_sweep("sweeps/query_augmentatoin.yaml")


@pytest.mark.parametrize("name", sweep_names())
def test_wandb_runs_the_shipped_files(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Expanded by the code of its agent, each value reaches the config that `zsl.fit` parses."""
    path = str(shipped_configs() / name)
    config = load_sweep_config(path)
    assert config is not None
    assert yaml.safe_load(Path(path).read_text()) == config
    _validate_config_and_fill_distribution(config)
    sweep = read_sweep(path)
    for values in sweep.examples():
        variables = create_sweep_command_args(
            {"args": {key: {"value": value} for key, value in values.items()}}
        ) | {"env": ["/usr/bin/env"], "interpreter": ["python"], "program": [config["program"]]}
        words: list[str] = []
        for word in create_sweep_command(list(config["command"])):
            words += variables[word[2:-1]] if word.startswith("${") else [word]
        assert words[:4] == ["/usr/bin/env", "python", "-m", "zsl.fit"]
        theirs, ours = parse(words[4:]), parse(sweep.fit_args(values))
        assert theirs["model"] == ours["model"]
        assert theirs["seed_everything"] == ours["seed_everything"] == values["seed_everything"]
        assert [logger["class_path"].split(".")[-1] for logger in theirs["trainer"]["logger"]] == [
            "CSVLogger",
            "WandbLogger",
        ]
        assert theirs["model"]["backbone"] == "tf_efficientnet_lite0"  # Of shapes.yaml.
        for key, value in values.items():
            expected = value if isinstance(value, dict) else {"": value}
            for part, element in expected.items():
                assert resolved(theirs.as_dict(), f"{key}.{part}".strip(".")) == element


@pytest.mark.parametrize("value", [None, 0.5, 1])
def test_values_in_the_notation_of_python(value: Any) -> None:
    config = parse(["--config=shapes.yaml", f"--model.optimization.ema_decay={value and value / 2}"])
    assert config["model"]["ema_decay"] == (value and value / 2)
    group = {"ema_decay": value and value / 2, "freeze_backbone": True, "optimizer": "adam"}
    config = parse(["--config=shapes.yaml", f"--model={group}", "--model.backbone.weights=None"])
    assert {name: config["model"][name] for name in group} == group
    assert config["model"]["weights"] is None
    assert config["model"]["stride"] == 16


@pytest.mark.parametrize("own", [["--config", "table.yaml"], ["--config=table.yaml"]])
def test_a_config_of_the_command_line_takes_the_place_of_the_files(own: list[str]) -> None:
    path = str(shipped_configs() / "sweeps/query_augmentation.yaml")
    more = ["--data.root=photos", "--config", "data/features.yaml"]
    sweep = read_sweep(path, [*own, *more], wandb=True, name="photos")
    assert sweep.args == [
        "--config=table.yaml",
        "--config=baselines/published.yaml",
        "--data.root=photos",
        "--config=data/features.yaml",
        "--config=loggers/wandb.yaml",
    ]
    assert sweep.folder == Path("runs/sweeps/photos")
    assert read_sweep(path).args[0] == "--config=shapes.yaml"
