"""Configs and arguments of `zsl.fit`, and its help."""

import re
from inspect import isabstract
from pathlib import Path
from typing import get_type_hints

import pytest
import yaml

from zsl.commands.configs import find_config, shipped_configs, shipped_names
from zsl.commands.fit import main as fit
from zsl.commands.fit_parser import parse_config
from zsl.errors import InputError
from zsl.tasks.zero_shot import ZeroShotTask


def test_none_is_null() -> None:
    arguments = ["--model.backbone.weights", "None", "--model.encoder.init_args.scale=None"]
    config = parse_config(["--config=shapes.yaml", *arguments, "--data.features", "None"])
    assert config.model.backbone.init_args.weights is None
    assert config.model.encoder.init_args.scale is None
    assert config.data.init_args.features is None


def test_configs_merge_inside_of_groups(in_tmp_path: Path) -> None:
    Path("overlay.yaml").write_text(
        "data: {init_args: {images: {cutout: 0.5}}}\n"
        "model: {head: {num_groups: 5}, augmentation: {noise: 0.1}, loss: {clip: 0.1}}\n"
    )
    Path("other.yaml").write_text("model: {head: {dropout: 0.3}, augmentation: {random: 4}}\n")
    configs = [f"--config={name}.yaml" for name in ("shapes", "overlay", "other")]
    config = parse_config([*configs, "--model.head.embed_dim=32", "--model.loss.clip=0.2"])
    head = config.model.head.init_args
    assert (head.num_groups, head.dropout, head.embed_dim) == (5, 0.3, 32)
    assert head.feedforward_dim == 1024
    assert (config.model.augmentation.noise, config.model.augmentation.random) == (0.1, 4)
    assert config.model.loss.init_args.clip == 0.2
    images = config.data.init_args.images
    assert (images.cutout, images.size, images.horizontal_flip) == (0.5, 96, True)
    other = parse_config([*configs, "--model.head=zsl.models.BilinearConfig"])
    assert not vars(other.model.head.init_args)


def test_help_names_the_configs_and_where_every_argument_is_explained(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert fit(["--help"]) == 0
    page = capsys.readouterr().out
    assert all(name in page for name in shipped_names())
    assert max(len(line) for line in page.splitlines()) <= 100

    explained = {}
    for flag, name in re.findall(r"(--[\w.]+\.help) ([A-Z]\w+[a-z]\w*)", page):
        with pytest.raises(SystemExit) as stopped:
            fit([flag, name])
        assert stopped.value.code == 0
        explained[name] = capsys.readouterr().out
    assert explained.keys() == {"TableDataModule", "MLDecoderConfig"}
    parts = get_type_hints(ZeroShotTask.__init__).items()
    classes = {f"--model.{name}.help" for name, kind in parts if isabstract(kind)}
    told = {*re.findall(r"--[\w.]+\.help\b", page)}
    assert told == classes | {"--data.help", "--trainer.callbacks.help"}
    assert fit(["--help_all"]) == 0
    explained["all"] = capsys.readouterr().out
    for name, line in (
        ("TableDataModule", r"--data.images.size SIZE Side [^(]* \(type: int, default: 224\)"),
        ("MLDecoderConfig", r"--model.head.dropout DROPOUT [^(]*\(type: float, default: 0.1"),
        ("all", r"--model.head.num_groups NUM_GROUPS [^(]*\(type: int . null, default: null"),
        ("all", r"--model.head.num_combined NUM_COMBINED Seen [^(]*\(type: int, default: 10\)"),
        ("all", r"--model.backbone.name NAME A model [^(]*\(type: str, default: resnet50\)"),
        ("all", r"--model.augmentation.noise NOISE Strength [^(]*\(type: float, default: 0.0\)"),
        ("all", r"--model.optimization.warmup WARMUP [^(]*\(type: float, default: 0.2\)"),
        ("all", r"--model.loss.clip CLIP Probability [^(]*\(type: float, default: 0.05\)"),
        ("all", r"--model.encoder.normalize {true,false} .*?\(type: bool, default: True\)"),
        ("all", r"--data.images.size SIZE Side [^(]*\(type: int, default: 96\)"),
        ("all", r"--trainer.max_epochs MAX_EPOCHS .*?\(type: Optional\[int\], default: null\)"),
    ):
        assert re.search(line, " ".join(explained[name].split())), line


def test_print_config_shows_the_merged_config(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        fit(["--config=shapes.yaml", "--config=loggers/wandb.yaml", "--print_config"])
    assert stopped.value.code == 0
    config = yaml.safe_load(capsys.readouterr().out)
    loggers = [logger["class_path"].split(".")[-1] for logger in config["trainer"]["logger"]]
    assert loggers == ["CSVLogger", "WandbLogger"]
    assert config["model"]["backbone"]["init_args"]["stride"] == 16
    assert config["data"]["init_args"]["num_train"] == 4000


def test_a_config_in_the_working_directory_comes_first(in_tmp_path: Path) -> None:
    assert find_config("shapes.yaml") == str(shipped_configs() / "shapes.yaml")
    (in_tmp_path / "shapes.yaml").write_text("seed_everything: 1\n")
    assert find_config("shapes.yaml") == "shapes.yaml"
    with pytest.raises(InputError, match="neither a file nor one of the shipped configs"):
        find_config("nothing.yaml")
    (in_tmp_path / "mine").mkdir()
    (in_tmp_path / "mine" / "photos.yaml").touch()
    with pytest.raises(InputError, match=r"Did you mean .mine/photos.yaml."):
        find_config("mine/fotos.yaml")
