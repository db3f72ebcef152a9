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
from zsl.commands.configs import find_config, shipped_configs, shipped_names
from zsl.commands.fit_parser import parse_config
from zsl.errors import InputError
from zsl.sweeps.results import flat, resolved
from zsl.sweeps.spec import read_parameter, read_sweep, values_of

pytestmark = pytest.mark.filterwarnings("ignore:LightningCLI's args parameter")


def _search(entry: dict[str, Any], name: str = "a") -> dict[str, Any]:
    return {"method": "random", "run_cap": 3, "parameters": {name: entry}}


def test_a_grid_has_every_combination_once(in_tmp_path: Path) -> None:
    parameters = {
        "model": {"values": [{"augmentation": {"noise": 0.5}}, {"augmentation": {"dropout": 0.3}}]},
        "seed_everything": {"values": [0, 1, 2]},
    }
    sweep = read_sweep(write(parameters=parameters), ["--data.num_train=8"])
    points = sweep.points()
    assert len(points) == 6
    assert points[0] == {"model": {"augmentation": {"noise": 0.5}}, "seed_everything": 0}
    assert sweep.arguments == ["--config=shapes.yaml", "--data.num_train=8"]
    assert sweep.fit_args(points[0])[-2:] == [
        "--model={'augmentation': {'noise': 0.5}}",
        "--seed_everything=0",
    ]
    examples = sweep.examples()
    assert len(examples) == 4
    for name in parameters:
        assert {str(point[name]) for point in points} == {str(point[name]) for point in examples}
    assert len(read_sweep(write(parameters=parameters), count=4).points()) == 4
    assert read_sweep(write(), wandb=True).arguments[1:] == ["--config=loggers/wandb.yaml"]


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
    assert read_parameter(entry, "here") == expected


def test_choices_may_be_anything() -> None:
    values = [{"a": None}, True, 1, "1", [2]]
    for entry in ({"values": values}, {"values": values, "distribution": "categorical"}):
        assert values_of(read_parameter(entry, "here")) == values
    assert values_of(read_parameter({"value": 3}, "here")) == [3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "tpe"}, "method is 'tpe'; expected grid, random or bayes"),
        ({"method": "random"}, "there is no run_cap; expected 1 or more, here or as --count"),
        ({"run_cap": 0}, "run_cap is 0; expected 1 or more"),
        ({"name": "a/b"}, "name is 'a/b'; expected one that can name a folder"),
        ({"name": ".."}, "expected one that can name a folder"),
        ({"metrc": 1}, "'metrc' is not supported; expected name, description"),
        ({"metrc": 1}, "Did you mean 'metric'?"),
        ({"metric": "val/zsl/mAP"}, "expected {name: val/zsl/mAP, goal: maximize}"),
        ({"metric": {"name": "val/zsl/mAP"}}, "expected {name: val/zsl/mAP, goal: maximize}"),
        ({"metric": {"name": "test/zsl/mAP", "goal": "maximize"}}, "selection sees no unseen"),
        ({"metric": {"name": "val/zsl/mAP", "goal": "up"}}, "the goal maximize or minimize"),
        ({"program": "train.py"}, "program is 'train.py'; expected zsl.fit"),
        ({"command": "python"}, "command is 'python'; expected [${env}"),
        ({"command": ["${program}", "${args}"]}, "expected [${env}"),
        ({"command": ["-m", "${program}", "${args_no_hyphens}"]}, "expected [${env}"),
        ({"command": ["-m", "${program}", "${envvar:X}", "${args}"]}, "expected [${env}"),
        ({"parameters": {}}, "expected at least one parameter"),
        ({"parameters": {"a": 3}}, "parameter a is 3; expected value, values, or min and max"),
        ({"parameters": {"a": {"parameters": {}}}}, "a is {'parameters': {}}; expected value"),
        ({"parameters": {"a": {"distribution": "normal", "mu": 1}}}, "expected value, values, or"),
        ({"parameters": {"a": {"distribution": "normal"}}}, "constant, categorical, uniform"),
        ({"parameters": {"a": {"values": []}}}, "expected a list of at least one value"),
        ({"parameters": {"a": {"min": 0.0, "max": 1.0}}}, "for a grid has no ranges"),
        (_search({"min": 0}), "expected numbers as min and max"),
        (_search({"min": "1e-4", "max": 1}), "YAML reads 1e-4 as text"),
        (_search({"min": False, "max": 1}), "expected numbers as min and max"),
        (_search({"min": 2, "max": 1}), "expected min below max"),
        (_search({"min": 0, "max": 1.0}), "two whole numbers or two with a point"),
        (_search({"distribution": "int_uniform", "min": 0.5, "max": 2}), "expected whole numbers"),
        (_search({"distribution": "log_uniform_values", "min": 0, "max": 1}), "min above 0"),
        (_search({"distribution": "q_uniform", "min": 0, "max": 1, "q": 0}), "q above 0"),
        (_search({"min": 0.0, "max": 1.0}, "seed_everything"), "a range of whole numbers"),
        ({"early_terminate": {"type": "envelope"}}, "expected {type: hyperband}"),
        ({"early_terminate": {"type": "hyperband"}}, "min_iter or max_iter and s"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 0}}, "whole numbers"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 1, "x": 1}}, "early_terminate is"),
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
        ("method: [grid\nmetric: {}", r"tiny.yaml is not YAML: .* line 2"),
        ("- a", "holds no mapping"),
        ("method: grid", "there is no metric; expected {name"),
    ],
)
@pytest.mark.usefixtures("in_tmp_path")
def test_another_file_is_refused(text: str, message: str) -> None:
    Path("tiny.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        read_sweep("tiny.yaml")


def test_sweep_files_are_no_configs() -> None:
    assert len(shipped_names("sweep file")) == 5
    assert not set(shipped_names("sweep file")) & set(shipped_names())
    with pytest.raises(InputError, match="Did you mean 'sweeps/query_augmentation"):
        find_config("sweeps/query_augmentatoin.yaml", "sweep file")


@pytest.mark.parametrize("name", shipped_names("sweep file"))
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
        ours = [word for word in sweep.fit_args(values) if not word.startswith("--checkpoint.")]
        assert sorted([*ours, "--config=loggers/wandb.yaml"]) == sorted(
            "\n".join(words[4:]).replace("--config\n", "--config=").split("\n")
        )
        theirs = parse_config(words[4:])
        assert theirs["seed_everything"] == values["seed_everything"]
        assert [logger["class_path"].split(".")[-1] for logger in theirs["trainer"]["logger"]] == [
            "CSVLogger",
            "WandbLogger",
        ]
        model = theirs.as_dict()["model"]
        nuswide = "nuswide" in name
        # Of nuswide.yaml or shapes.yaml.
        backbone = "tresnet_v2_l" if nuswide else "tf_efficientnet_lite0"
        assert model["backbone"]["init_args"]["name"] == backbone
        if values.get("model") == {"head": "zsl.models.BilinearConfig"}:
            assert model["head"]["class_path"] == "zsl.models.BilinearConfig"
            continue
        for key, element in flat(values).items():
            assert resolved(theirs.as_dict(), key) == element


@pytest.mark.parametrize("value", [None, 0.5, 1])
def test_values_in_the_notation_of_python(value: Any) -> None:
    config = parse_config(
        ["--config=shapes.yaml", f"--model.optimization.ema_decay={value and value / 2}"]
    )
    assert config["model"]["optimization"]["ema_decay"] == (value and value / 2)
    optimization = {"ema_decay": value and value / 2, "optimizer": "adam"}
    group = {"optimization": optimization, "backbone": {"frozen": True}}
    config = parse_config(
        ["--config=shapes.yaml", f"--model={group}", "--model.backbone.weights=None"]
    )
    found = config["model"]["optimization"]
    assert {name: found[name] for name in optimization} == optimization
    assert config["model"]["backbone"]["init_args"]["frozen"] is True
    assert config["model"]["backbone"]["init_args"]["weights"] is None
    assert config["model"]["backbone"]["init_args"]["stride"] == 16


@pytest.mark.parametrize("own", [["--config", "table.yaml"], ["--config=table.yaml"]])
def test_a_config_of_the_command_line_takes_the_place_of_the_files(own: list[str]) -> None:
    path = str(shipped_configs() / "sweeps/query_augmentation.yaml")
    more = ["--data.root=photos", "--config", "data/features.yaml"]
    sweep = read_sweep(path, [*own, *more], wandb=True, name="photos")
    assert sweep.arguments == [
        "--config=table.yaml",
        "--config=baselines/published.yaml",
        "--data.root=photos",
        "--config=data/features.yaml",
        "--config=loggers/wandb.yaml",
    ]
    assert sweep.folder == Path("runs/sweeps/photos")
    assert read_sweep(path).arguments[0] == "--config=shapes.yaml"
