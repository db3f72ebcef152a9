"""`zsl.Tagger`: from checkpoints and folders, and shared."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file

import zsl
from tests.fakes.checkpoints import NEW_LABELS, NORMALISED, write_checkpoint
from tests.fakes.parts import OwnHead, OwnHeadConfig, tiny_backbone, tiny_head
from zsl.errors import InputError
from zsl.evaluation.scoring import make_datamodule, score_checkpoint
from zsl.files.checkpoints import read_checkpoint
from zsl.files.class_paths import describe_part
from zsl.models import ConSEConfig

SHARED: list[dict[str, Any]] = [
    {
        "backbone": tiny_backbone(name="test_vit", stride=None),
        "head": tiny_head(num_groups=3, seen_span=True),
    },
    {"head": ConSEConfig(), "backbone": tiny_backbone(frozen=True)},
    NORMALISED,
]


@pytest.mark.parametrize("parts", SHARED)
def test_a_saved_folder_is_the_same_tagger(parts: dict[str, Any], tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "run", **parts)
    tagger = zsl.Tagger.from_pretrained(path)
    tagger.save_pretrained(tmp_path / "shared")
    files = sorted(file.name for file in (tmp_path / "shared").iterdir())
    assert files == ["README.md", "config.json", "model.safetensors"]
    assert all(file.stat().st_mode & 0o044 == 0o044 for file in (tmp_path / "shared").iterdir())
    # The same names and values as in the checkpoint.
    state = torch.load(path, weights_only=True)["state_dict"]
    shared = load_file(tmp_path / "shared" / "model.safetensors")
    assert shared.keys() == state.keys()
    assert all(torch.equal(shared[name], state[name]) for name in state)
    again = zsl.Tagger.from_pretrained(tmp_path / "shared")
    assert again.vocabulary == tagger.vocabulary
    images = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(again(images), tagger(images), rtol=0, atol=1e-6)
    pictures = list((tmp_path / "run" / "photos" / "images").iterdir())[:3]
    # New labels too, by the recipe.
    assert again.predict(pictures, NEW_LABELS) == tagger.predict(pictures, NEW_LABELS)
    again.save_pretrained(tmp_path / "shared again")
    for file in files:
        copy = tmp_path / "shared again" / file
        assert copy.read_bytes() == (tmp_path / "shared" / file).read_bytes()


def test_classes_of_strangers_are_imported_only_where_they_are_trusted(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "run", head=OwnHeadConfig(rank=3))
    with pytest.raises(InputError, match=r"names the class 'tests.fakes.parts.OwnHeadConfig', wh"):
        zsl.Tagger.from_pretrained(path)
    tagger = zsl.Tagger.from_pretrained(path, trust_code=True)
    assert isinstance(tagger.network.head, OwnHead)
    tagger.save_pretrained(tmp_path / "shared")
    config = json.loads((tmp_path / "shared" / "config.json").read_text())
    # The folder can't trust itself.
    (tmp_path / "shared" / "config.json").write_text(json.dumps(config | {"trust_code": True}))
    with pytest.raises(InputError, match="which is not part of zsl: importing it would execute"):
        zsl.Tagger.from_pretrained(tmp_path / "shared")
    again = zsl.Tagger.from_pretrained(tmp_path / "shared", trust_code=True)
    assert isinstance(again.network.head, OwnHead)


def test_the_card_is_filled_in(tagger: zsl.Tagger, tmp_path: Path) -> None:
    tagger.save_pretrained(tmp_path)
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.pipeline_tag == "zero-shot-image-classification"
    assert card.data.get("eval_results")[0].metric_value == 0.123
    for text in (
        "# Zero-shot tagger: TableDataModule (photos)",
        "- 4 seen: blue, green, red, yellow",
        "zsl.labels.LabelMatrix |",
        "| test_resnet |",
    ):
        assert text in card.text


def change(path: Path, **changes: Any) -> None:
    checkpoint = torch.load(path, weights_only=True)
    for name, value in changes.items():
        checkpoint[name].update(value)
    torch.save(checkpoint, path)


def test_what_is_no_tagger_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    load = zsl.Tagger.from_pretrained
    with pytest.raises(InputError, match=r"The checkpoint .*none.ckpt does not exist"):
        load(tmp_path / "none.ckpt")
    with pytest.raises(InputError, match="x is not here and could not be downloaded"):
        load("x" * 300)
    with pytest.raises(InputError, match=r"has no config.json; expected one that save_pretrained"):
        load(tmp_path)
    with pytest.raises(InputError, match="someone/tagger is not here and could not be downloaded"):
        load("someone/tagger")
    broken = tmp_path / "broken.ckpt"
    broken.write_bytes(checkpoint.read_bytes()[:5000])
    with pytest.raises(InputError, match="damaged, incomplete, or not a checkpoint"):
        load(broken)
    shutil.copy(checkpoint, broken)
    for changes in ({"num_experts": 8}, {"embed_dim": 32}):
        head = describe_part(tiny_head())
        head["init_args"].update(changes)
        change(broken, zsl={"version": "9.0"}, hyper_parameters={"head": head})
        with pytest.raises(InputError, match=r"was saved by zsl 9.0 and does not fit zsl"):
            load(broken)
    change(broken, zsl={"experts": 8})
    with pytest.raises(InputError, match=r"was saved by zsl 9.0 and does not fit .*'experts'"):
        load(broken)


def test_a_damaged_folder_is_refused(tagger: zsl.Tagger, tmp_path: Path) -> None:
    tagger.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    old = {**config, "model": {"backbone": "resnet50"}, "names": config["names"][::-1]}
    (tmp_path / "config.json").write_text(json.dumps({**old, "version": "0.1.0"}))
    with pytest.raises(InputError, match=r"was saved by zsl 0.1.0 and does not fit zsl"):
        zsl.Tagger.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(InputError, match=r"can't be read .*expected the .ckpt file of a training"):
        zsl.Tagger.from_pretrained(tmp_path)
    weights.unlink()
    with pytest.raises(InputError, match=r"has no model.safetensors"):
        zsl.Tagger.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": ["red"]}, "Found 1 label names but 8 roles"),
        ({"names": 8 * [3]}, "does not fit zsl"),
        ({"roles": 8 * ["known"]}, "'known'; expected one of seen, held_out, unseen"),
        ({"roles": ["unseen", *7 * ["seen"]]}, "label names are not ordered by role"),
        ({"image_size": 64.5}, "image_size is 64.5; expected a number of pixels"),
        ({"image_size": 0}, "image_size is 0; expected a number of pixels"),
        ({"encoder": None}, "is not a FixedHeadConfig"),
        ({"model": {"head": None}}, "does not fit zsl"),
        (
            {"model": {"head": {"class_path": "zsl.models.Oracle", "init_args": {}}}},
            "The class 'zsl.models.Oracle', which the checkpoint was made with, can't be imported",
        ),
        (
            {"model": {"head": {"class_path": "zsl.labels.Role", "init_args": {}}}},
            "'zsl.labels.Role', which the checkpoint names, is not a HeadConfig",
        ),
    ],
)
def test_a_config_edited_by_hand_is_refused(
    tagger: zsl.Tagger, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    folder = tmp_path / "edited"
    tagger.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    if "model" in changes:
        changes = {"model": config["model"] | changes["model"]}
    (folder / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(InputError, match=rf"edited.*{message}"):
        zsl.Tagger.from_pretrained(folder)


def test_import_is_light() -> None:
    code = "import sys, zsl; assert 'torch' not in sys.modules; zsl.nothing"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "AttributeError: module 'zsl' has no attribute 'nothing'" in run.stderr


def test_images_are_resized_as_in_the_training(tmp_path: Path) -> None:
    """By the checkpoint alone: in predictions, in the folder to share, on the data again."""
    images = {"interpolation": "bicubic", "center_crop": 0.8}
    path = write_checkpoint(tmp_path / "run", 48, images)
    recipe = read_checkpoint(path).contents.data
    data = make_datamodule(recipe, {"num_workers": 0})
    data.setup("test")
    images_of_test: Any = data.test_dataset
    batch = next(iter(data.test_dataloader()))
    tagger = zsl.Tagger.from_pretrained(path)
    tagger.save_pretrained(tmp_path / "shared")
    for asked in (tagger, zsl.Tagger.from_pretrained(tmp_path / "shared")):
        tokens = torch.cat(list(asked.token_batches(images_of_test.paths)))
        assert torch.equal(tokens, tagger.tokens(batch["image"]))
    squashed = zsl.Tagger.from_pretrained(write_checkpoint(tmp_path / "squashed", 48))
    assert not torch.equal(torch.cat(list(squashed.token_batches(images_of_test.paths))), tokens)
    assert "shorter side to 60" in (tmp_path / "shared" / "README.md").read_text()
    for changes in ({"center_crop": None}, {"interpolation": "bilinear"}):
        with pytest.raises(InputError, match=r"images are resized as .*, but .* trained with"):
            score_checkpoint(path, {"images": changes})
