"""The label texts that come with the package fit the vocabularies they are written for."""

import csv
from pathlib import Path

import pytest
import yaml

import zsl.labels
from zsl.data import coco_classes, shapes, voc

FOLDER = Path(zsl.labels.__file__).parent / "texts"
FILES = ["cifar10", "cifar100", "coco", "nuswide", "shapes", "tiny_imagenet", "voc"]


def _entries(name: str) -> list[tuple[str, list[str]]]:
    """Reads names and texts as written: a mapping would swallow a name that is there twice."""
    source = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    node = yaml.compose(source, Loader=yaml.SafeLoader)
    assert isinstance(node, yaml.MappingNode)
    values = yaml.safe_load(source)
    names = [key.value for key, _ in node.value]
    assert list(values) == list(dict.fromkeys(names)), "a name is not a string"
    return [
        (name, [values[name]] if isinstance(values[name], str) else values[name]) for name in names
    ]


def test_every_file_is_tested() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.yaml")) == sorted(FILES)


@pytest.mark.parametrize("name", FILES)
def test_texts_are_whole_and_differ_from_label_to_label(name: str) -> None:
    entries = _entries(name)
    names = [label for label, _ in entries]
    assert len(set(names)) == len(names)
    lowered = {label.lower() for label in names}
    texts = [text for _, found in entries for text in found]
    assert all(found for _, found in entries)
    assert all(isinstance(text, str) and text == text.strip() != "" for text in texts)
    # A text that is the name of a label would ask for that label instead.
    assert [text for text in texts if text.lower() in lowered] == []
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("coco", coco_classes.CLASSES),
        ("voc", list(voc.CLASSES.values())),
        ("shapes", shapes.shapes_vocabulary().names),
    ],
)
def test_every_label_has_its_texts(name: str, labels: list[str]) -> None:
    assert sorted(label for label, _ in _entries(name)) == sorted(labels)


@pytest.mark.parametrize(("name", "count"), [("cifar10", 10), ("cifar100", 100)])
def test_every_class_of_cifar_has_its_texts(name: str, count: int) -> None:
    names = [label for label, _ in _entries(name)]
    assert names == sorted(names)
    assert len(names) == count
    assert not any("_" in label for label in names)


def test_every_tag_and_concept_of_nuswide_has_its_texts(shared: Path) -> None:
    lists = [shared / f"data/nuswide/{name}.txt" for name in ("TagList1k", "Concepts81")]
    labels = {label for path in lists for label in path.read_text().split()}
    assert {label for label, _ in _entries("nuswide")} == labels
    assert len(labels) == 925 + 81


def test_every_class_of_tiny_imagenet_has_its_texts(shared: Path) -> None:
    with (shared / "data/mosaics/classes.csv").open(encoding="utf-8") as file:
        labels = [row["name"] for row in csv.DictReader(file)]
    assert sorted(label for label, _ in _entries("tiny_imagenet")) == sorted(labels)
