"""A folder in which the commands of a page find what they name, in miniature."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import torch
import yaml

from tests.commands.test_prepare_table import COLOURS, write_photographs
from tests.fakes.checkpoints import COLOUR_TEXTS, write_calibrated
from tests.fakes.miniature import TINY, miniature
from tests.fakes.towers import write_pair
from tests.models.official import official_tensors
from tests.pages.find import ROOT
from zsl.commands.configs import find_config
from zsl.data import coco_classes
from zsl.labels import SentenceEncoder

QUICK = ["--trainer.max_epochs=1", "--trainer.enable_progress_bar=false"]
QUICK += ["--trainer.enable_model_summary=false"]
_NOT_OF_PAIRS = ("--model.backbone.", "--model.head.", "--data.images.", "--trainer.max_epochs")
CHANGES: list[tuple[str, tuple[str, ...], list[str]]] = [
    (
        "baselines/clip.yaml",
        _NOT_OF_PAIRS,
        ["--model.backbone.name=tiny-clip", "--model.backbone.weights=pair.pt"],
    ),
    ("baselines/conse.yaml", ("--model.head.",), []),
    ("own.yaml", ("--model.head.",), []),
    ("my_parts.PlainColoursData", ("--data.num_t", "--data.num_v"), ["--data.num_images=12"]),
    ("--model.encoder=zsl.labels.SentenceEncoder", ("--model.encoder.",), []),
    ("--published", ("--model.",), ["--model.backbone.name=tresnet_m"]),
    ("--ckpt_path", ("--trainer.max_epochs",), ["--trainer.max_epochs=2"]),
    ("--trainer.devices", (), ["--trainer.devices=1"]),
    ("--trainer.num_nodes", (), ["--trainer.num_nodes=1"]),
    ("--storage", (), ["--storage=study.log"]),
    ("--k", (), ["--k", "3", "5"]),
]
"""For a command with this word: overrides that begin so do not go with it, and further ones."""


class Workplace:
    """The working directory, where the paths of a page lead to.

    Args:
        folder: Its path.
        checkpoints: The folder of those that a page does not train, written by `write_checkpoints`.
    """

    def __init__(self, folder: Path, checkpoints: Path) -> None:
        self.folder, self.checkpoints = folder, checkpoints
        self.miniatures: dict[str, tuple[list[str], Path]] = {}
        Path("words.txt").write_text("dog\nbeach\n")
        for name in ("texts.yaml", "mine.yaml"):
            Path(name).write_text("dog: a pet that barks\nred: the colour of blood\n")
        for page, language, name in (
            ("sweeps.md", "yaml", "rate.yaml"),
            ("own_parts.md", "yaml", "own.yaml"),
            ("own_parts.md", "python", "my_parts.py"),
        ):
            text = (ROOT / "docs" / page).read_text(encoding="utf-8")
            found = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
            Path(name).write_text("\n\n".join(found))

    def complete(self, words: list[str]) -> list[str]:
        """Makes what a command names, leads paths here, and appends what makes it small."""
        if "--help" in words:
            return words
        words = [self.here(word) for word in words]
        for word in words:
            if word.endswith((".ckpt", ".pth")) and not Path(word).exists():
                self.write_checkpoint(Path(word))
            if Path(word).name in ("photos", "scenes"):
                self.link(Path(word), "table.yaml")
        if words[:2] == ["prepare", "table"]:
            write_tagged(Path("photos"))
        if words[:2] == ["prepare", "nuswide"]:
            self.link(Path(value(words, "--root")), "nuswide.yaml")
        return words + self.overrides(words)

    def here(self, path: str) -> str:
        """Leads a path of another disk or of somebody's home to this folder."""
        return re.sub(r"^(~(?=/)|(?=/data/))", str(self.folder), path)

    def overrides(self, words: list[str]) -> list[str]:
        """Returns what makes the command small; its data come to `--data.root`."""
        overrides = []
        config = config_of(words)
        if config:
            overrides += self.miniature(config)[0]
            if "--data.root" in words:
                self.link(Path(value(words, "--data.root")), config)
        for word, unsuitable, more in CHANGES:
            if word in words:
                overrides = [one for one in overrides if not one.startswith(unsuitable)] + more
        if "baselines/clip.yaml" in words:
            write_pair(Path("pair.pt"))
        return [*overrides, "--count=1"] if words[:1] == ["sweep"] else overrides

    def miniature(self, config: str) -> tuple[list[str], Path]:
        """Overrides of a config, and the root of its data."""
        if config not in self.miniatures:
            folder = self.folder / "miniatures" / config
            folder.mkdir(parents=True)
            overrides = [*miniature(config, folder), *TINY, *QUICK]
            roots = [word for word in overrides if word.startswith("--data.root=")]
            root = Path(roots[0].partition("=")[2]) if roots else folder
            self.miniatures[config] = [word for word in overrides if word not in roots], root
        return self.miniatures[config]

    def link(self, path: Path, config: str) -> None:
        """Lets a path lead to the data of a config, unless an earlier command wrote it."""
        if path.is_symlink():
            path.unlink()
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(self.miniature(config)[1], target_is_directory=True)

    def write_checkpoint(self, path: Path) -> None:
        """Writes what the page trained, or a ready one, to where a command looks for it."""
        if "latest" in path.parts:
            latest = path.parents[1]
            (latest.parent / "version_0").mkdir(parents=True)
            latest.symlink_to("version_0", target_is_directory=True)
        trained = [*self.folder.glob("runs/colours/*/checkpoints/best.ckpt")]
        ready = self.checkpoints / ("published.pth" if path.suffix == ".pth" else "best.ckpt")
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile([*trained, ready][0], path)


def write_checkpoints(folder: Path) -> None:
    """Writes `best.ckpt`, which embeds any words with texts, and `published.pth`."""
    texts = folder / "texts.yaml"
    texts.write_text(COLOUR_TEXTS)
    run = folder / "run"
    trained = write_calibrated(run, encoder=SentenceEncoder(texts=str(texts)))
    trained.rename(folder / "best.ckpt")
    torch.save({"model": official_tensors(len(coco_classes.CLASSES))}, folder / "published.pth")


def value(words: list[str], flag: str) -> str:
    """The word after a flag."""
    return words[words.index(flag) + 1]


def config_of(words: list[str]) -> str | None:
    """The shipped config that a command begins with, or its sweep file does."""
    if "--config" in words:
        config = value(words, "--config")
        return "table.yaml" if config == "photos/zsl.yaml" else config
    if words[:1] == ["sweep"]:
        sweep = yaml.safe_load(Path(find_config(words[1], "sweep file")).read_text())
        return value(sweep["command"], "--config")
    return None


def write_tagged(folder: Path) -> None:
    """Writes photographs and a table of their tags."""
    if folder.is_symlink():
        folder.unlink()
    names = dict(zip(COLOURS, ("dog", "beach", "lamp", "sofa", "window", "pillow"), strict=True))
    rows = ["image,labels"]
    for number, colours in enumerate(write_photographs(folder)):
        tags = [*map(names.__getitem__, colours), ("day", "night")[number % 2]]
        rows.append(f"2019/{number}.png,{'|'.join(tags)}")
    (folder / "tags.csv").write_text("\n".join(rows) + "\n")
