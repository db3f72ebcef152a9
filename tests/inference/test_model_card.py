"""The card of a shared tagger, as the hub and as a person reads it."""

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard, ModelCardData

from zsl.inference.model_card import model_card

HEADER: dict[str, Any] = {
    "library_name": "zsl",
    "pipeline_tag": "zero-shot-image-classification",
    "tags": ["a"],
}
RESULTS = {
    "protocol": {
        "name": "all_images, zero, averaged",
        "definition": "every image counts",
        "num_images_counted": {"zsl": 10, "gzsl": 10, "seen": 10},
        "num_labels": {"zsl": 1, "gzsl": 4, "seen": 2},
    },
    "decisions": [{"group": "zsl", "precision": 0.5, "recall": 0.25, "F1": 1 / 3, "ECE": 0.0123}],
    "metrics": {"test/zsl/mAP": 0.12345, "test/gzsl/mAP": 0.456, "test/gzsl/F1@3": 0.789},
}
CONFIG: dict[str, Any] = {
    "names": ["red", "dark_red", "blue", "pink"],
    "roles": ["seen", "seen", "held_out", "unseen"],
    "image_size": 64,
    "encoder": {
        "class_path": "zsl.labels.LabelMatrix",
        "init_args": {"path": "vectors.npz", "scale": None},
        "fingerprint": "f00d",
    },
    "model": {
        "backbone": {"class_path": "zsl.models.Backbone", "init_args": {"name": "resnet50"}},
        "head": {"class_path": "mine.Head", "init_args": {"num_groups": 3, "query_relu": False}},
    },
    "data": "TableDataModule (photos)",
    "results": RESULTS,
    "version": "1.0",
}


def card_of(folder: Path, **changes: Any) -> ModelCard:
    """The card as it is read from its file."""
    card = model_card(CONFIG | changes, ModelCardData(**HEADER))
    card.save(folder / "README.md")
    again = ModelCard.load(folder / "README.md")
    assert str(again) == str(card)
    return again


def test_a_person_reads_what_the_tagger_is_made_of(tmp_path: Path) -> None:
    text = card_of(tmp_path).text
    for line in (
        "# Zero-shot tagger: TableDataModule (photos)",
        "TableDataModule (photos), at 64 px. Labels:",
        "- 2 seen: red, dark_red",
        "- 1 held out: blue",
        "- 1 unseen: pink",
        "| ZSL (the unseen labels alone) | 0.500 | 0.250 | 0.333 | 0.012 |",
        "| class_path | zsl.labels.LabelMatrix |",
        "| path | vectors.npz |",
        "| fingerprint | f00d |",
        "| backbone.class_path | zsl.models.Backbone |",
        "| backbone.name | resnet50 |",
        "| head.num_groups | 3 |",
        "| head.query_relu | False |",
        "Protocol all_images, zero, averaged: every image counts.",
        "| | labels | images | mAP | F1@3 | F1@5 |",
        "| ZSL (the unseen labels alone) | 1 | 10 | 0.123 |  |  |",
        "| GZSL (all labels together) | 4 | 10 | 0.456 | 0.789 |  |",
    ):
        assert line in text.splitlines()
    assert "scale" not in text


def test_the_hub_reads_the_results(tmp_path: Path) -> None:
    data: Any = card_of(tmp_path).data
    assert {name: getattr(data, name) for name in HEADER} == HEADER
    found = {result.metric_name: result for result in data.eval_results}
    values = {name: result.metric_value for name, result in found.items()}
    assert values == {
        "mAP, ZSL (the unseen labels alone)": 0.1235,
        "mAP, GZSL (all labels together)": 0.456,
        "F1@3, GZSL (all labels together)": 0.789,
    }
    best = found["F1@3, GZSL (all labels together)"]
    assert (best.metric_type, best.dataset_name) == ("f1", "TableDataModule (photos)")
    assert best.metric_args == {
        "protocol": "all_images, zero, averaged",
        "num_labels": 4,
        "num_images": 10,
    }


def test_it_says_how_scores_are_made() -> None:
    text = model_card(CONFIG, ModelCardData(**HEADER), "each label standardised").text
    assert "Scores: each label standardised." in text.splitlines()
    assert "Scores:" not in model_card(CONFIG, ModelCardData(**HEADER)).text


@pytest.mark.parametrize("is_softmax", [False, True])
def test_images_of_one_class_each_are_not_called_multi_label(
    tmp_path: Path, is_softmax: bool
) -> None:
    card = card_of(tmp_path, encoder=None, scores_are_softmax=is_softmax, results=None)
    assert ("multi-label" in card.data.to_dict()["tags"]) != is_softmax


def test_without_results_it_says_so(tmp_path: Path) -> None:
    card = card_of(tmp_path, results=None)
    assert "There were no test results beside the checkpoint." in card.text
    assert card.data.get("eval_results") is None


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a|b", r"a\|b"),
        ("`rm`", r"\`rm\`"),
        ("two\n\nlines", "two lines"),
        ("<script>x</script>", r"\<script\>x\</script\>"),
        ("\x1b[31mred\x07", r"\[31mred"),
        ("[a](b)", r"\[a\](b)"),
        ("*a* _b_ c_d __e__", r"\*a\* \_b\_ c_d \_\_e\_\_"),
        ("{{ 1 }} {% x", "{{ 1 }} {% x"),
        ("caf\udce9", "caf"),
        ("\u202eabc", "abc"),
        ("\u0645\u06cc\u200c\u0634\u0648\u062f", "\u0645\u06cc\u200c\u0634\u0648\u062f"),
    ],
)
def test_names_are_data(tmp_path: Path, name: str, shown: str) -> None:
    """In lists and in tables, and in the header, where they come back as they were."""
    names = [name, *CONFIG["names"][1:]]
    card = card_of(tmp_path, names=names, encoder={name: name}, data=name)
    lines = card.text.splitlines()
    assert f"- 2 seen: {shown}, dark_red" in lines
    assert f"| {shown} | {shown} |" in lines
    assert f"# Zero-shot tagger: {shown}" in lines
    assert {result.dataset_name for result in card.data.get("eval_results")} == {name}
