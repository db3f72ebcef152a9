"""PASCAL VOC in its native layout, a miniature of it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
from torchvision.datasets import voc

from tests.fakes.voc import NAMES, write_voc
from zsl.data import ImageConfig, Split, VOCDataModule
from zsl.data.voc import CLASSES
from zsl.errors import InputError
from zsl.labels import Role


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_voc(tmp_path / "voc")


def pascal(root: Path, **settings: Any) -> VOCDataModule:
    defaults: dict[str, Any] = {
        "images": ImageConfig(16),
        "num_workers": 0,
        "batch_size": 4,
        "download": False,
    }
    return VOCDataModule(str(root), **(defaults | settings))


def targets(data: VOCDataModule, *splits: Split) -> dict[str, dict[str, int]]:
    """The target of each image and class."""
    return {
        path.stem: dict(zip(data.vocabulary.names, row.tolist(), strict=True))
        for split in splits
        for path, row in zip(*data.parts[split], strict=True)
    }


def devkit(root: Path, year: int, part: str) -> dict[str, dict[str, int]]:
    """The class files of a part: 1 present, -1 absent, 0 difficult objects only."""
    found: dict[str, dict[str, int]] = {}
    for name in NAMES:
        path = root / "VOCdevkit" / f"VOC{year}" / "ImageSets" / "Main" / f"{name}_{part}.txt"
        for line in path.read_text().splitlines():
            image, value = line.split()
            found.setdefault(image, {})[CLASSES[name]] = int(value)
    return found


@pytest.mark.parametrize(
    ("year", "parts"), [(2007, ("trainval", "test")), (2012, ("train", "val"))]
)
@pytest.mark.parametrize(("difficult", "value"), [("unknown", -1), ("present", 1), ("absent", 0)])
def test_targets_are_those_of_the_devkit(
    tmp_path: Path, year: int, parts: tuple[str, str], difficult: str, value: int
) -> None:
    root = write_voc(tmp_path, year)
    data = pascal(root, year=year, difficult=difficult)
    assert data.vocabulary.names == sorted(data.vocabulary.names)
    assert len(data.vocabulary) == 20
    for part, splits in zip(parts, [(Split.TRAIN, Split.VAL), (Split.TEST,)], strict=True):
        files = devkit(root, year, part)
        assert {entry for row in files.values() for entry in row.values()} == {-1, 0, 1}
        of_value = {1: 1, -1: 0, 0: value}
        expected = {
            image: {name: of_value[entry] for name, entry in row.items()}
            for image, row in files.items()
        }
        assert targets(data, *splits) == expected


def test_batches_have_images_and_targets(root: Path) -> None:
    data = pascal(root, val_fraction=0.2)
    data.setup("fit")
    data.setup("test")
    assert [len(data.parts[split].paths) for split in Split] == [48, 12, 60]
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (4, 3, 16, 16)
    assert batch["target"].shape == (4, 20)


def test_four_classes_may_be_unseen(root: Path) -> None:
    data = pascal(root, zero_shot=True, val_fraction=0.4)
    assert data.vocabulary.select(Role.UNSEEN) == ["car", "dog", "sofa", "train"]
    assert [len(data.vocabulary.select(role)) for role in Role] == [14, 2, 4]
    assert targets(data, Split.TEST) == targets(pascal(root), Split.TEST)
    clean = pascal(root, zero_shot=True, val_fraction=0.4, with_unseen="drop")
    unseen = clean.vocabulary.columns(Role.UNSEEN)
    assert not (clean.parts[Split.TRAIN].targets[:, unseen] == 1).any()
    assert (data.parts[Split.TRAIN].targets[:, unseen] == 1).any()


def replace_download(patch: pytest.MonkeyPatch, instead: Callable[[Path], object]) -> list[str]:
    """Has torchvision do something else in place of a download; returns the archives asked for."""
    archives: list[str] = []

    def download(url: str, root: str, filename: str, md5: str) -> None:
        archives.append(url.rsplit("/")[-1])
        instead(Path(root))

    patch.setattr(voc, "download_and_extract_archive", download)
    return archives


def test_what_is_absent_is_downloaded_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = root / "VOCdevkit" / "VOC2007" / "ImageSets" / "Main" / "test.txt"
    lines = listed.read_text()
    listed.unlink()
    archives = replace_download(monkeypatch, lambda _: listed.write_text(lines))
    for _ in range(2):
        data = pascal(root, download=True)
        assert archives == ["VOCtest_06-Nov-2007.tar"]
    assert len(data.parts[Split.TEST].paths) == 60


def test_a_download_that_broke_off_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "voc"

    def break_off(root: Path) -> None:
        write_voc(root)
        raise KeyboardInterrupt

    replace_download(monkeypatch, break_off)
    with pytest.raises(KeyboardInterrupt):
        pascal(root, download=True)
    with pytest.raises(
        InputError, match=r"trainval.txt was not unpacked to the end; .*delete .*finished"
    ):
        pascal(root)
    archives = replace_download(monkeypatch, lambda _: None)
    for _ in range(2):
        pascal(root, download=True)
        assert archives == ["VOCtrainval_06-Nov-2007.tar"]


def test_without_internet_the_sentence_says_what_goes_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path) -> None:
        raise URLError("Name or service not known")

    replace_download(monkeypatch, fail)
    root = tmp_path / "voc"
    advice = rf"download https?://.*VOCtrainval_06-Nov-2007.tar and unpack it in {root}, so that"
    with pytest.raises(InputError, match=rf"trainval.txt does not exist; {advice}.*set download"):
        pascal(root)
    with pytest.raises(InputError, match=rf"can't be downloaded \(.*not known.*\); {advice}"):
        pascal(root, download=True)
    write_voc(root)  # As it says.
    pascal(root, download=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation><object>", r"000001.xml can't be read \(no element found"),
        ("", r"000001.xml can't be read \(no element found"),
        (None, r"000001.xml does not exist"),
        (
            "<annotation><object><name>hrose</name></object></annotation>",
            r"000001.xml: an object is of the class 'hrose'.*'horse'",
        ),
        (
            "<annotation><object><part><name>head</name></part></object></annotation>",
            r"000001.xml: an object is of the class '', which",
        ),
    ],
)
def test_damaged_annotations_are_named(root: Path, text: str | None, message: str) -> None:
    path = root / "VOCdevkit" / "VOC2007" / "Annotations" / "000001.xml"
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=message):
        pascal(root)


def test_missing_images_and_empty_lists_are_named(root: Path) -> None:
    data = pascal(root)
    data.parts[Split.TEST].paths[5].unlink()
    with pytest.raises(
        InputError, match=r"1 of 60 test images can.t be read.*does not exist.*archives of VOC2007"
    ):
        data.setup("fit")
    path = root / "VOCdevkit" / "VOC2007" / "ImageSets" / "Main" / "test.txt"
    path.write_text("")
    with pytest.raises(InputError, match=r"Main/test.txt lists no image"):
        pascal(root)


@pytest.mark.parametrize(("setting", "value"), [("year", 2010), ("difficult", "ignored")])
def test_settings_out_of_range_are_refused(root: Path, setting: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{setting} is {re.escape(repr(value))}; expected"):
        pascal(root, **{setting: value})
