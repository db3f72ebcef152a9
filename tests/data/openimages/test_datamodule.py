import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.fakes.openimages import BATS, LABELS, UNSEEN, FakeOpenImages
from tests.fakes.table import COLOURS
from zsl.data import ImageConfig, OpenImagesDataModule, Split
from zsl.data.openimages import annotations
from zsl.errors import InputError
from zsl.labels import Role

ALL = [*LABELS.values(), *(f"Bat ({label})" for label in BATS)]


def load(root: Path, **changes: Any) -> OpenImagesDataModule:
    arguments = {"images": ImageConfig(16), "batch_size": 4, "num_workers": 0, **changes}
    return OpenImagesDataModule(str(root), **arguments)


@pytest.fixture
def v6(tmp_path: Path) -> FakeOpenImages:
    return FakeOpenImages(tmp_path / "openimages").write_v6()


def check(fake: FakeOpenImages, data: OpenImagesDataModule) -> None:
    """Every image of every split has its own pixels and what was verified of it."""
    for split in Split:
        dataset = data.dataset(split, data.evaluation_transform)
        assert [dataset.path(i).stem for i in range(len(dataset))] == fake.images[split]
        for index, image in enumerate(fake.images[split]):
            expected = fake.target(image, split, data.vocabulary.names)
            assert dataset.target(index).tolist() == expected
            pixels = np.asarray(dataset.image(index), dtype=int)
            left, right = fake.colours[image]
            assert np.abs(pixels[:, 2:15].mean(axis=(0, 1)) - COLOURS[left]).max() < 12
            assert np.abs(pixels[:, 25:].mean(axis=(0, 1)) - COLOURS[right]).max() < 12


@pytest.mark.parametrize("block", [4 << 20, 600])
def test_v6_is_what_people_verified(
    v6: FakeOpenImages, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(annotations, "_BLOCK", block)
    data = load(v6.root)
    assert data.vocabulary.names == data.vocabulary.select(Role.SEEN) == ALL
    check(v6, data)
    values = {
        int(value) for value in data.dataset(Split.TRAIN, data.evaluation_transform).target(0)
    }
    assert values <= {-1, 0, 1}


def test_v4_has_the_unseen_labels_of_its_lists(tmp_path: Path) -> None:
    fake = FakeOpenImages(tmp_path / "openimages").write_v4()
    data = load(fake.root, version="v4_zero_shot", held_out_fraction=0.2)
    vocabulary = data.vocabulary
    assert vocabulary.select(Role.UNSEEN) == [LABELS[UNSEEN[1]], LABELS[UNSEEN[0]]]
    assert len(vocabulary.select(Role.HELD_OUT)) == 2
    assert sorted(vocabulary.names) == sorted(ALL)
    check(fake, data)
    # What is held out can be measured on the validation images.
    val = data.dataset(Split.VAL, data.evaluation_transform)
    held_out = torch.stack([val.target(i) for i in range(len(val))])[
        :, vocabulary.columns(Role.HELD_OUT)
    ]
    assert (held_out == 1).any(dim=0).all()
    assert (held_out == 0).any(dim=0).all()
    other = load(fake.root, version="v4_zero_shot", held_out_fraction=0.2, held_out_seed=3)
    assert other.vocabulary != vocabulary
    assert other.fingerprint != data.fingerprint


def test_unknown_labels_are_absent_in_training_alone_if_so_wanted(v6: FakeOpenImages) -> None:
    plain, data = load(v6.root), load(v6.root, unknown="negative")
    assert plain.fingerprint != data.fingerprint
    for split in Split:
        before = plain.dataset(split, data.evaluation_transform).target(0)
        after = data.dataset(split, data.evaluation_transform).target(0)
        expected = before.clamp(min=0) if split is Split.TRAIN else before
        assert (before == -1).any()
        assert torch.equal(after, expected)


def test_images_without_a_seen_label_are_found_in_the_index(v6: FakeOpenImages) -> None:
    data = load(v6.root, unlabelled="drop")
    data.setup("fit")
    dataset = data.train_dataset
    expected = [i for i in range(len(dataset)) if (dataset.target(i) == 1).any()]
    assert data.trained_rows.tolist() == expected
    some = dataset.has_label(slice(2, 4))
    assert some.tolist() == [bool((dataset.target(i)[2:4] == 1).any()) for i in range(len(dataset))]
    assert 0 < some.sum() < len(dataset)


def test_the_index_is_made_once_and_again_when_a_file_changes(v6: FakeOpenImages) -> None:
    data = load(v6.root)
    made = data.index.folder.stat().st_mtime_ns
    again = load(v6.root)
    assert again.index.folder.stat().st_mtime_ns == made
    assert again.fingerprint == data.fingerprint
    dataset = data.dataset(Split.TRAIN, data.evaluation_transform)
    assert len(pickle.dumps(dataset.index)) < 500
    copy = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(copy.target(3), dataset.target(3))

    path = v6.root / "test-annotations-human-imagelabels.csv"
    image, label = next(iter(v6.verified["test"]))
    v6.verified["test"][image, label] ^= 1
    v6._write_annotations(path, "test")
    changed = load(v6.root)
    check(v6, changed)
    assert changed.fingerprint != data.fingerprint
    (changed.index.folder / "train" / "values.npy").write_bytes(b"")
    check(v6, load(v6.root))
    assert len(list((v6.root / "zsl").glob("openimages-*/"))) == 1


def test_missing_images_are_an_error_or_left_out(v6: FakeOpenImages) -> None:
    (v6.root / "train" / f"{v6.images['train'][2]}.jpg").unlink()
    (v6.root / "test" / "notes.jpg").touch()
    message = rf"1 of 24 train images are missing, the first is .*{v6.images['train'][2]}.jpg"
    with pytest.raises(InputError, match=message):
        load(v6.root).setup("fit")
    data = load(v6.root, missing="skip")
    data.setup("fit")
    assert data.omitted(Split.TRAIN) == 1
    assert len(data.train_dataset) == 23
    assert data.train_dataset.target(2).tolist() == v6.target(
        v6.images["train"][3], "train", data.vocabulary.names
    )
    shutil.rmtree(v6.root / "validation")
    with pytest.raises(InputError, match=r"Not one of the 12 val images is in .*set image_folder"):
        load(v6.root, missing="skip").setup("fit")


def test_images_lie_as_the_archives_unpack(v6: FakeOpenImages) -> None:
    for image in v6.images["train"]:
        folder = v6.root / "images" / f"train_{image[0]}"
        folder.mkdir(parents=True, exist_ok=True)
        (v6.root / "train" / f"{image}.jpg").rename(folder / f"{image}.jpg")
    for split in ("validation", "test"):
        (v6.root / split).rename(v6.root / "images" / split)
    check(v6, load(v6.root))
    with pytest.raises(InputError, match="photos does not exist; set image_folder"):
        load(v6.root, image_folder="photos")


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_wrong_files_are_named(v6: FakeOpenImages, tmp_path: Path) -> None:
    labels = "validation-annotations-human-imagelabels.csv"
    image = v6.images["val"][0]
    trainable = v6.root / "oidv6-classes-trainable.txt"
    for name, old, new, message in (
        (
            "oidv6-class-descriptions.csv",
            "/m/03b,",
            "/m/03c,",
            r"label /m/03b has no name in .*csv",
        ),
        ("oidv6-classes-trainable.txt", "/m/03b", "/m/02b", "line 4: '/m/02b' is there twice"),
        (labels, image, image[1:], rf"{labels}: The ImageID '{image[1:]}' is not 16 hexa"),
        (labels, image, f"{image[1:]}G", "is not 16 hexadecimal digits"),
        (labels, "Confidence", "Score", r"Confidence.*expected a CSV with the columns ImageID"),
        (labels, ",1\n", ",0.8\n", "has the confidence 0.8; expected 1 for a label verified"),
        (labels, ",1\n", ",yes\n", r"can't be read .*yes"),
    ):
        before = (v6.root / name).read_text()
        edit(v6.root / name, old, new)
        with pytest.raises(InputError, match=message):
            load(v6.root)
        (v6.root / name).write_text(before)
    trainable.write_text("/m/0rare9\n")
    edit(v6.root / "oidv6-class-descriptions.csv", "/m/0rare", "/m/0rare9")
    with pytest.raises(InputError, match="has no row for one of the 1 labels; take the annotation"):
        load(v6.root)
    trainable.unlink()
    message = r"lacks oidv6-classes-trainable.txt .*put the file from https://storage"
    with pytest.raises(InputError, match=message):
        load(v6.root)
    with pytest.raises(InputError, match="nowhere does not exist; set root"):
        load(tmp_path / "nowhere")
    assert not list((v6.root / "zsl").glob("*/"))


def test_other_benchmarks_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "train" / "labels").mkdir(parents=True)
    (tmp_path / "train" / "labels" / "classifications.csv").touch()
    with pytest.raises(InputError, match=r"is FiftyOne's export .* another benchmark"):
        load(tmp_path)
    shutil.rmtree(tmp_path / "train")
    (tmp_path / "data.csv").touch()
    with pytest.raises(InputError, match="PartialLabelingCSL, has damaged names"):
        load(tmp_path)
    (tmp_path / "class-descriptions-boxable.csv").touch()
    with pytest.raises(InputError, match="600 classes that have boxes: another benchmark"):
        load(tmp_path)


def test_unseen_lists_are_checked(tmp_path: Path) -> None:
    fake = FakeOpenImages(tmp_path / "openimages").write_v4()
    chosen = fake.root / "top_400_unseen.csv"
    for lines, message in (
        ("0\n3\n", "line 2: '3' is not one of the positions 0 to 2"),
        ("0\n0\n", "'0' is there twice"),
    ):
        chosen.write_text(lines)
        with pytest.raises(InputError, match=message):
            load(fake.root, version="v4_zero_shot")
    chosen.write_text("0\n2\n")
    edit(fake.root / "classes-trainable.txt", "/m/00b", UNSEEN[0])
    with pytest.raises(InputError, match=rf"{UNSEEN[0]} is seen, by .*classes-trainable.txt"):
        load(fake.root, version="v4_zero_shot")
