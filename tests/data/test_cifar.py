import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10, CIFAR100, utils

from tests.fakes.cifar import NAMES, write_cifar, write_pickle
from zsl.data import CIFARDataModule, ImageConfig, Split
from zsl.data.cifar import CIFARDataset
from zsl.errors import InputError
from zsl.labels import Role


def made(root: Path, **changes: Any) -> CIFARDataModule:
    return CIFARDataModule(str(root), images=ImageConfig(32), num_workers=0, **changes)


def images(data: CIFARDataModule, split: Split) -> CIFARDataset:
    return data.dataset(split, data.evaluation_transform)


@pytest.mark.parametrize("classes", [10, 100])
def test_images_and_classes_are_those_of_torchvision(
    tmp_path: Path, classes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar(tmp_path, classes)
    kind: Any = {10: CIFAR10, 100: CIFAR100}[classes]
    # Its checksums are those of the authors' files.
    for name in ("train_list", "test_list"):
        monkeypatch.setattr(kind, name, [[file, None] for file, _ in getattr(kind, name)])
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": None})
    data = made(tmp_path, classes=classes)
    for splits, train in (((Split.TEST,), False), ((Split.TRAIN, Split.VAL), True)):
        expected = sorted(
            (np.asarray(image).tobytes(), column) for image, column in kind(tmp_path, train)
        )
        parts = [images(data, split) for split in splits]
        found = sorted(
            (np.asarray(part.image(n)).tobytes(), int(part.target(n).argmax()))
            for part in parts
            for n in range(len(part))
        )
        assert found == expected
    assert data.vocabulary.names == [name.replace("_", " ") for name in NAMES]
    assert len(images(data, Split.VAL)) == (20 if classes == 10 else 4)
    for n in range(5):
        part = images(data, Split.TEST)
        assert part.target(n).sum() == 1
        pixels = torch.from_numpy(np.array(part.image(n))).permute(2, 0, 1)
        assert torch.equal(part[n]["image"], pixels)


def test_unseen_classes_have_no_part_in_the_training(tmp_path: Path) -> None:
    write_cifar(tmp_path, per_batch=200)
    data = made(tmp_path, zero_shot=True, val_fraction=0.3)
    vocabulary = data.vocabulary
    assert [len(vocabulary.select(role)) for role in Role] == [7, 1, 2]
    plain = made(tmp_path)
    of_image = {
        images(plain, split).image(n).tobytes(): plain.vocabulary.names[int(target.argmax())]
        for split in Split
        for n in range(len(images(plain, split)))
        if (target := images(plain, split).target(n)) is not None
    }
    for split, last in (
        (Split.TRAIN, Role.SEEN),
        (Split.VAL, Role.HELD_OUT),
        (Split.TEST, Role.UNSEEN),
    ):
        part, named = images(data, split), set()
        for n in range(len(part)):
            name = vocabulary.names[int(part.target(n).argmax())]
            assert of_image[part.image(n).tobytes()] == name
            named.add(name)
        assert named == set(vocabulary.names[vocabulary.columns(Role.SEEN, last)])
    assert len(images(data, Split.TEST)) == 200
    assert made(tmp_path, zero_shot=True, split_seed=1).vocabulary != vocabulary


def test_the_fingerprint_is_of_the_pixels(tmp_path: Path) -> None:
    folder = write_cifar(tmp_path)
    before = made(tmp_path)
    prints = [images(before, split).images_fingerprint() for split in Split]
    batch = CIFAR100.test_list[0][0]
    content = np.load(folder / batch, allow_pickle=True)
    content["data"][3, 5] ^= 1
    write_pickle(folder / batch, content)
    after = made(tmp_path)
    assert after.fingerprint != before.fingerprint
    assert [images(after, split).images_fingerprint() for split in Split][:2] == prints[:2]
    assert images(after, Split.TEST).images_fingerprint() != prints[2]


def test_it_is_downloaded_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_cifar(tmp_path / "server")
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as file:
        file.add(folder, folder.name)
    archive = packed.getvalue()
    root = tmp_path / "new" / "data"
    received = [archive[:-3000], archive]

    def download(url: str, folder: str, filename: str, md5: str) -> None:
        assert (url, md5) == (CIFAR100.url, CIFAR100.tgz_md5)
        Path(folder, filename).write_bytes(received.pop(0))

    monkeypatch.setattr(utils, "download_url", download)
    with pytest.raises(InputError, match=r"CIFAR100 is not in .* and could not be downloaded \(.*"):
        made(root)
    assert [path.suffix for path in root.iterdir()] == [".lock"]
    assert made(root).fingerprint == made(tmp_path / "server").fingerprint
    assert sorted(path.name for path in root.iterdir()) == [f".{folder.name}.lock", folder.name]
    made(root)  # It is there.


def damaged(folder: Path) -> None:
    content = (folder / "train").read_bytes()
    (folder / "train").write_bytes(content[: len(content) // 2])


def code(folder: Path) -> None:
    write_pickle(folder / "train", Path("a"))


def another_shape(folder: Path) -> None:
    write_pickle(folder / "train", {"data": np.zeros((3, 5), np.uint8), "fine_labels": [0, 1, 2]})


def another_label(folder: Path) -> None:
    write_pickle(folder / "test", {"data": np.zeros((1, 3072), np.uint8), "fine_labels": [10]})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damaged, r"cifar-100-python/train can't be read as a pickle of arrays: "),
        (code, r"train asks for pathlib.*, which no file of arrays needs"),
        (another_shape, r"train has uint8 data of the shape \(3, 5\) for 3 labels; expected uint8"),
        (another_label, r"test has labels that are not from 0 to 9; download it anew"),
        (lambda folder: (folder / "test").unlink(), r"test is missing; set root to the folder"),
        (lambda folder: write_pickle(folder / "meta", {}), r"meta has no fine_label_names"),
        (lambda folder: write_pickle(folder / "meta", []), r"meta holds no batch of CIFAR"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path: Path, damage: Any, message: str) -> None:
    damage(write_cifar(tmp_path))
    with pytest.raises(InputError, match=message):
        made(tmp_path)


def test_nothing_is_downloaded_unasked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cifar-10-batches-py/batches.meta is missing; set root"):
        made(tmp_path, classes=10, download=False)
    with pytest.raises(InputError, match=r"classes is 20; expected 10 or 100"):
        made(tmp_path, classes=20)
