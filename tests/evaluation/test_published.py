"""Published checkpoints, evaluated on the data of a config."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from torch import Tensor

from tests.fakes.table import COLOURS, write_table_dataset
from tests.models.official import official_tensors
from zsl.commands.evaluate import main as evaluate
from zsl.errors import InputError
from zsl.evaluation.published import class_order

NAMES = sorted(COLOURS)
HEAD = "head.decoder."


def write_config(folder: Path) -> str:
    config = {
        "task": "zsl.tasks.ClassificationTask",
        "data": {
            "class_path": "zsl.data.TableDataModule",
            "init_args": {"images": {"size": 64}, "num_workers": 0},
        },
        "model": {"backbone": {"name": "tresnet_m", "weights": "pretrained"}},
        "trainer": {"accelerator": "cpu"},
        "checkpoint": {"monitor": "val/all/mAP"},
    }
    path = folder / "published.yaml"
    path.write_text(yaml.safe_dump(config))
    return str(path)


def test_the_order_of_the_classes_is_that_of_their_names(
    in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_table_dataset(in_tmp_path / "photos", kind="fixed")
    tensors = official_tensors(len(NAMES))
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    shuffled = dict(tensors)
    for name in ("query_embed.weight", "duplicate_pooling", "duplicate_pooling_bias"):
        shuffled[HEAD + name] = tensors[HEAD + name][order]
    names = {
        "plain": dict(enumerate(NAMES)),
        "shuffled": {index: NAMES[at].upper() for index, at in enumerate(order.tolist())},
    }
    found = {}
    for kind, own in (("plain", tensors), ("shuffled", shuffled)):
        torch.save({"model": own, "idx_to_class": names[kind]}, f"{kind}.pth")
        arguments = [f"--config={write_config(in_tmp_path)}", "--data.root", str(root)]
        assert evaluate([*arguments, "--published", f"{kind}.pth", "--replicates=0"]) == 0
        report = Path(f"{kind}_evaluation")
        found[kind] = pd.read_csv(report / "report" / "per_class_ap.csv")
        results = json.loads((report / "results.json").read_text())
        assert results["protocol"]["num_images_counted"] == {"all": 10}
    pd.testing.assert_frame_equal(found["shuffled"], found["plain"])
    assert found["plain"]["AP"].nunique() > 4
    assert "all labels" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "more", "message"),
    [
        (
            {},
            ["--model.backbone.name=tresnet_v2_l"],
            "lacks 282 tensors, the first backbone.model.body.la",
        ),
        ({f"{HEAD}duplicate_pooling": torch.ones(4, 768, 2)}, [], "with the widths, classes and"),
        ({"body.layer9.0.conv1.0.weight": torch.ones(1)}, [], "has, and the network lacks, 1 tens"),
        ({"idx_to_class": dict(enumerate("abcdefgh"))}, [], "8 of the data's 8 classes are not am"),
        ({}, ["--checkpoint=best.ckpt"], "either --checkpoint FILE of a training, or --published"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    in_tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Tensor],
    more: list[str],
    message: str,
) -> None:
    root = write_table_dataset(in_tmp_path / "photos", kind="fixed")
    names = changes.pop("idx_to_class", dict(enumerate(NAMES)))
    torch.save(
        {"model": official_tensors(len(NAMES)) | changes, "idx_to_class": names}, "other.pth"
    )
    arguments = [f"--config={write_config(in_tmp_path)}", f"--data.root={root}", *more]
    assert evaluate([*arguments, "--published=other.pth"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error


def test_without_a_config_it_asks_for_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(["--published=other.pth", "--data.root=photos"]) == 2
    assert "--published needs the config" in capsys.readouterr().err


def test_a_damaged_name_is_found_by_its_position(capsys: pytest.CaptureFixture[str]) -> None:
    own = ["dog", "Crane (bird)", "crane (machine)", *(f"class {n}" for n in range(300))]
    published = ["Dog", "crane", "crane", *(f"class_{n}" for n in range(300))]
    assert class_order(own, published, "a.pth") == list(range(303))
    assert "2 class names of a.pth differ" in capsys.readouterr().out
    swapped = [*published[:3], *published[:2:-1]]
    with pytest.raises(InputError, match="2 of the data's 303 classes are not among"):
        class_order(own, swapped, "a.pth")
    with pytest.raises(InputError, match="has 303 classes, the data 302"):
        class_order(own[1:], published, "a.pth")
