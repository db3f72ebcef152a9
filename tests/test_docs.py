import inspect
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

import zsl
from tests.fakes.checkpoints import write_calibrated, write_checkpoint
from tests.models.official import official_shapes
from zsl import models
from zsl.commands.configs import shipped_names
from zsl.commands.export import main as export
from zsl.commands.fit_parser import parse_config
from zsl.commands.main import main as zsl_command
from zsl.data import ImageConfig
from zsl.data.mixing import MixingConfig
from zsl.labels import SentenceEncoder
from zsl.labels.encoders.texts import read_texts, shipped_texts
from zsl.towers import read_tower_images

DOCS = Path(__file__).parents[1] / "docs"


def test_the_examples_of_the_head_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a small backbone; a downloaded checkpoint has the official names and shapes."""
    create = timm.create_model
    asked = []

    def create_small(name: str, pretrained: bool = False, **options: Any) -> Any:
        asked.append(name)
        return create(name, **options) if "tresnet" in name else create("test_resnet")

    monkeypatch.setattr(timm, "create_model", create_small)
    monkeypatch.chdir(tmp_path)
    # All elements of a tensor are one in memory and in the file.
    tensors = {
        name: torch.rand(()).expand(shape) for name, shape in official_shapes("l", 80).items()
    }
    torch.save({"model": tensors}, "tresnet_l_COCO__448_90_0.pth")
    page = (DOCS / "ml_decoder.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    examples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for example in examples:
        exec(example, names)
    assert len(examples) == 3
    assert asked == ["resnet50", "resnet50", "resnet50", "tresnet_v2_l"]
    assert names["logits"].shape == (2, 1006)
    assert names["unused"] == names["untouched"] == []
    for name, tensor in names["tensors"].items():
        assert torch.equal(tensor, tensors[name])


def test_the_examples_of_predict_run(
    in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On labels that the tiny checkpoint has vectors of; the hub is a folder."""
    checkpoint = write_calibrated(in_tmp_path / "run")
    shutil.copy(checkpoint, "best.ckpt")
    for number, name in enumerate(("a.jpg", "b.jpg"), 1):
        shutil.copy(in_tmp_path / "run" / "photos" / "images" / f"{number}.png", name)
    monkeypatch.setattr(zsl.Tagger, "push_to_hub", zsl.Tagger.save_pretrained)
    page = (DOCS / "predict.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    examples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    # That of Ray Data, which takes long, is among the tests of the predictor.
    short = [example for example in examples if "import ray" not in example]
    for example in short:
        exec(example.replace('"dog", "beach"', '"pink", "red"'), names)
    assert (len(short), len(examples)) == (4, 5)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert [line.split()[0] for line in lines[2:]] == ["pink", "red"]
    assert all(("a.jpg" in line) and ("b.jpg" in line) for line in lines[2:])
    lines = lines[:2]
    assert all("'pink'" in line and "'red'" in line for line in lines)
    assert names["maps"].shape == (1, 2, 2, 2)
    assert sorted(path.name for path in Path("my-tagger").iterdir()) == sorted(
        path.name for path in Path("me/my-tagger").iterdir()
    )


def test_the_example_of_new_words_runs(in_tmp_path: Path) -> None:
    """The other example of the page is among the tests of the export."""
    checkpoint = str(write_checkpoint(in_tmp_path / "run"))
    output = ["--output=best_export", "--format=torch_export"]
    assert export(["--checkpoint", checkpoint, *output]) == 0
    page = (DOCS / "export.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```\n(import json\n.*?)```", page, re.DOTALL)
    exec(example.replace('"wedding", "polar bear"', '"pink", "grey"'), {})
    found = np.load("new_labels.npz")
    assert found["names"].tolist() == ["pink", "grey"]
    _, expected = zsl.Tagger.from_pretrained(checkpoint).embed(["pink", "grey"])
    np.testing.assert_array_equal(found["vectors"], expected.numpy())


def test_the_models_of_two_towers_are_those_of_open_clip() -> None:
    page = (DOCS / "text_aligned.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 5
    for _, names, tags, _, images in rows:
        for name in re.findall("`(.*?)`", names):
            for tag in re.findall("`(.*?)`", tags):
                resizing = read_tower_images(name, tag).resizing
                assert resizing.interpolation in images
                assert ("squashed" in images) == (resizing.center_crop is None)


def test_the_commands_for_several_devices_are_arguments_of_fit() -> None:
    page = (DOCS / "scale.md").read_text(encoding="utf-8").replace("\\\n", " ")
    commands = re.findall(r"-m zsl\.fit (.*)", page)
    assert len(commands) == 5
    for command in commands:
        config = parse_config(command.removesuffix(" $resume").split())
        devices = int(config.trainer.devices) * config.trainer.num_nodes
        accumulated = config.trainer.accumulate_grad_batches
        assert config.data.init_args.batch_size * devices * accumulated == 2048


def test_the_page_of_configs_names_every_config() -> None:
    page = (DOCS / "commands.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `([\w/.]+\.yaml)` \|", page, re.MULTILINE))
    assert named == set(shipped_names())


@pytest.mark.parametrize(
    ("name", "number", "command"),
    [
        ("predict", 0, "predict"),
        ("predict", 1, "search"),
        ("evaluation", 0, "evaluate"),
        ("export", 0, "export"),
        ("demo", 0, "demo"),
        ("own_photographs", 0, "prepare table"),
        ("nuswide", 0, "prepare nuswide"),
        ("sweeps", 0, "sweep"),
    ],
)
def test_a_table_of_arguments_has_those_of_the_help(
    name: str, number: int, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    tables = re.findall(r"^\| argument \|.*\n\|[-|]+\n((?:\|.*\n)+)", page, re.MULTILINE)
    first_column = " ".join(row.split("|")[1] for row in tables[number].splitlines())
    with suppress(SystemExit):
        zsl_command([*command.split(), "--help"])
    options = re.findall(r"^  --(\w+)", capsys.readouterr().out, re.MULTILINE)
    assert sorted(re.findall(r"--(\w+)", first_column)) == sorted(options)


def test_the_page_of_heads_names_every_head() -> None:
    named = set(re.findall(r"`zsl\.models\.(\w+)`", (DOCS / "heads.md").read_text("utf-8")))
    kinds = [getattr(models, name) for name in models.__all__ if name.endswith("Config")]
    bases = (models.HeadConfig, models.FixedHeadConfig)
    heads = {kind.__name__ for kind in kinds if issubclass(kind, bases) and kind not in bases}
    assert named == heads


def test_the_page_of_image_augmentation_has_every_field() -> None:
    page = (DOCS / "image_augmentation.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `?([^`|]+?)`? \|", page, re.MULTILINE)
    defaults = {own.name: own.default for own in [*fields(ImageConfig), *fields(MixingConfig)]}
    as_yaml = {None: "null", True: "true", False: "false"}
    assert dict(rows) == {
        name: as_yaml[value] if value is None or isinstance(value, bool) else str(value)
        for name, value in defaults.items()
    }


def test_the_rooms_of_the_page_are_those_of_the_package() -> None:
    page = (DOCS / "architecture.md").read_text(encoding="utf-8").partition("## The rooms")[2]
    rooms = re.findall(r"^\| ([^|]+) \|", page.partition("\n## ")[0], re.MULTILINE)
    named = re.findall(r"`(\w+)(?:/|\.py)`", " ".join(rooms))
    package = {path.stem for path in (DOCS.parent / "zsl").iterdir() if path.suffix in ("", ".py")}
    assert sorted(named) == sorted(package - {"__init__", "__main__", "__pycache__"})


def test_the_examples_of_label_texts_run(in_tmp_path: Path) -> None:
    page = (DOCS / "labels.md").read_text(encoding="utf-8").partition("### Texts of a label")[2]
    assert all(f"`{name}`" in page for name in shipped_texts())
    file = page.partition("```yaml\n")[2].partition("```")[0]
    Path("texts.yaml").write_text(file)
    texts = read_texts("texts.yaml")
    assert [*texts] == ["mufflers", "caps", "no"]
    Path("texts.yaml").write_text(file + "red: of blood\n")
    checkpoint = write_checkpoint(in_tmp_path / "run", encoder=SentenceEncoder(texts="texts.yaml"))
    shutil.copy(in_tmp_path / "run" / "photos" / "images" / "1.png", "a.jpg")
    example = page.partition("```python\n")[2].partition("```")[0]
    tagger = zsl.Tagger.from_pretrained(checkpoint)
    exec(example, {"tagger": tagger})
    assert tagger.encoder is not None
    assert tagger.encoder.origins(["zebra"])[0].startswith(
        "'zebra' | 'a horse with black and white"
    )


def test_the_example_of_sidecars_runs(in_tmp_path: Path) -> None:
    page = (DOCS / "demo.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(example, names)
    assert names["read_sidecar"](Path("photo.jpg")) == ["wedding", "beach"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages as `mkdocs build --strict` makes them: any warning is an error."""
    pytest.importorskip("material")
    pytest.importorskip("mkdocstrings_handlers.python")
    folder = tmp_path_factory.mktemp("site")
    options = ["--strict", "--site-dir", str(folder)]
    command = [sys.executable, "-m", "mkdocs", "build", *options]
    built = subprocess.run(command, cwd=DOCS.parent, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return folder


def test_the_site_is_built_without_a_warning(site: Path) -> None:
    """Links and anchors lead somewhere, pages are in the navigation, docstrings are read."""
    pages = {path.relative_to(DOCS).with_suffix("") for path in DOCS.rglob("*.md")}
    assert pages == {
        path.relative_to(site).with_suffix("")
        for path in site.rglob("*.html")
        if path.name != "404.html"
    }


def test_the_links_of_the_readme_lead_somewhere() -> None:
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)]+)\)", readme) if "://" not in link]
    assert len(links) > 20
    for link in links:
        path, _, anchor = link.partition("#")
        page = DOCS.parent / path
        assert page.is_file(), link
        headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE) if anchor else []
        anchors = {
            re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings
        }
        assert not anchor or anchor in anchors, link


@pytest.mark.parametrize(
    "name", ["inference", "labels", "models", "losses", "metrics", "data", "tasks"]
)
def test_the_reference_has_all_that_a_room_hands_out(site: Path, name: str) -> None:
    page = (site / "api" / f"{name}.html").read_text(encoding="utf-8")
    shown = set(re.findall(r'<h2 id="zsl\.(?:\w+\.)+(\w+)"', page))
    room = import_module(f"zsl.{name}")
    own = [key for key, value in vars(room).items() if inspect.isclass(value) and key[0] != "_"]
    names = {key for key in getattr(room, "__all__", own) if callable(getattr(room, key))}
    assert {key for key in names if getattr(room, key).__module__.startswith("zsl")} <= shown
    assert len(shown) >= 1
