import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
import torch
from PIL import Image

from zsl.data import ImageConfig, ShapesDataModule, Split
from zsl.data.shapes import COLOURS, SHAPES, SIZE, ShapesDataset, shapes_vocabulary
from zsl.labels import Role
from zsl.preprocessing import evaluation_transform


def make(split: Split, count: int = 60, seed: int = 0) -> ShapesDataset:
    return ShapesDataset(split, count, seed, evaluation_transform(96))


def test_120_labels_of_which_24_are_unseen_and_every_part_is_seen_often() -> None:
    vocabulary = shapes_vocabulary()
    assert len(vocabulary) == 120
    assert len(vocabulary.select(Role.UNSEEN)) == 24
    assert len(vocabulary.select(Role.HELD_OUT)) == 12
    assert "purple star" in vocabulary.select(Role.UNSEEN)
    seen = [name.split() for name in vocabulary.select(Role.SEEN)]
    for colour in COLOURS:
        assert sum(colour == part for part, _ in seen) >= 5
    for shape in SHAPES:
        assert sum(shape == part for _, part in seen) >= 5


def test_a_scene_depends_on_seed_split_and_index_alone() -> None:
    dataset = make(Split.TRAIN)
    forwards = [dataset[index] for index in range(5)]
    other = make(Split.TRAIN, count=10)
    for index in reversed(range(5)):
        sample = other[index]
        assert sample["index"] == index
        assert torch.equal(sample["image"], forwards[index]["image"])
        assert torch.equal(sample["target"], forwards[index]["target"])
    assert not torch.equal(make(Split.TEST)[0]["image"], forwards[0]["image"])
    assert not torch.equal(make(Split.TRAIN, seed=1)[0]["image"], forwards[0]["image"])


@pytest.mark.parametrize(
    ("split", "roles"),
    [
        (Split.TRAIN, {Role.SEEN}),
        (Split.VAL, {Role.SEEN, Role.HELD_OUT}),
        (Split.TEST, {Role.SEEN, Role.HELD_OUT, Role.UNSEEN}),
    ],
)
def test_splits_hold_their_roles_only(split: Split, roles: set[Role]) -> None:
    dataset = make(split, 200)
    targets = torch.stack([dataset.target(index) for index in range(len(dataset))])
    assert targets.dtype == torch.int8
    counts = targets.sum(dim=1)
    assert counts.min() >= 1
    assert counts.max() <= 4
    present = targets.any(dim=0).nonzero().flatten().tolist()
    assert {dataset.vocabulary.roles[label] for label in present} == roles


def test_the_shape_of_the_label_is_in_the_picture() -> None:
    dataset = make(Split.TRAIN, 100)
    found = 0
    for index in range(100):
        names = [dataset.vocabulary.names[i] for i in dataset.target(index).nonzero().flatten()]
        pixels = np.asarray(dataset.image(index), dtype=float)
        for name in names:
            distance = np.abs(pixels - COLOURS[name.split()[0]]).max(axis=2)
            found += (distance < 40).sum() > 40
    total = sum(int(dataset.target(index).sum()) for index in range(100))
    assert found > 0.95 * total


def test_boxes_are_around_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make(Split.TEST, 30)
    gray = Image.new("RGB", (2 * SIZE, 2 * SIZE), (100, 100, 100))
    monkeypatch.setattr("zsl.data.shapes._background", lambda random: gray.copy())
    alone = [index for index in range(30) if len(dataset.boxes(index)) == 1]
    assert len(alone) > 3
    for index in alone:
        ((label, box),) = dataset.boxes(index).items()
        target = dataset.target(index).nonzero().flatten().tolist()
        assert [dataset.vocabulary.names[column] for column in target] == [label]
        is_drawn = (np.asarray(dataset.image(index)) != 100).any(axis=2)
        rows, columns = np.nonzero(is_drawn)
        found = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert np.abs(np.subtract(found, box)).max() < 1.5


def test_batches_and_recipe() -> None:
    data = ShapesDataModule(num_train=10, num_val=4, num_test=4, batch_size=4, num_workers=0)
    data.setup("fit")
    batches = list(data.train_dataloader())
    assert len(batches) == 2
    batch = next(iter(data.val_dataloader()))
    assert batch["image"].shape == (4, 3, 96, 96)
    assert batch["image"].dtype == torch.uint8
    assert batch["target"].shape == (4, 120)
    assert batch["index"].tolist() == [0, 1, 2, 3]
    assert data.recipe == {
        "class_path": "zsl.data.ShapesDataModule",
        "init_args": {
            "num_train": 10,
            "num_val": 4,
            "num_test": 4,
            "seed": 0,
            "images": asdict(ImageConfig(96, horizontal_flip=True)),
            "batch_size": 4,
            "num_workers": 0,
        },
    }
    assert dict(data.hparams) == {
        **data.recipe["init_args"],
        "features": None,
        "views": 1,
        "unlabelled": "keep",
        "repeats": 1,
    }


def test_the_fingerprint_depends_on_scenes_alone() -> None:
    fingerprint = ShapesDataModule().fingerprint
    assert ShapesDataModule(images=ImageConfig(32), batch_size=3).fingerprint == fingerprint
    assert ShapesDataModule(seed=1).fingerprint != fingerprint
    assert ShapesDataModule(num_val=7).fingerprint != fingerprint


def test_an_index_past_the_end_is_refused() -> None:
    with pytest.raises(IndexError, match="scene 3 of 3"):
        make(Split.VAL, 3)[3]


def test_a_program_ends_though_it_left_a_loader_open() -> None:
    """Its processes ignore the SIGTERM by which Python ends them."""
    code = "from zsl.data import ShapesDataModule\n"
    code += "data = ShapesDataModule(num_train=4, num_val=4, num_test=4, num_workers=1)\n"
    code += "data.setup('validate')\nkept = iter(data.val_dataloader())\nnext(kept)\n"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)
