import json
import pickle
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.fakes.openimages import FakeOpenImages
from tests.fakes.threads import run_together
from zsl.data import (
    ImageConfig,
    MultiLabelDataModule,
    OpenImagesDataModule,
    ShapesDataModule,
    ShardsDataModule,
    Split,
    TableDataModule,
)
from zsl.data.resumable_sampler import ResumableSampler
from zsl.data.sparse_targets import SparseTargets, TargetBlock
from zsl.data.write_shards import write_shards
from zsl.errors import InputError

VARIED = ImageConfig(16, min_crop=0.3, horizontal_flip=True)


def table(root: Path, **changes: Any) -> TableDataModule:
    return TableDataModule(
        str(root), **{"images": VARIED, "batch_size": 4, "num_workers": 0, **changes}
    )


def shards(folder: Path, **changes: Any) -> ShardsDataModule:
    return ShardsDataModule(
        str(folder), **{"images": VARIED, "batch_size": 4, "num_workers": 0, **changes}
    )


@pytest.fixture
def folder(table_root: Path, tmp_path: Path) -> Path:
    """Shards of three images of the miniature table dataset."""
    write_shards(table(table_root), tmp_path / "shards", 3)
    return tmp_path / "shards"


def test_processes_write_the_shards_of_one(folder: Path, table_root: Path, tmp_path: Path) -> None:
    together = tmp_path / "together"
    run_together(lambda group: write_shards(table(table_root), together, 3, group), 3)
    found = {path.name: path.read_bytes() for path in together.rglob("*") if path.is_file()}
    assert found == {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    run_together(lambda group: write_shards(table(table_root), together, 3, group))  # All is done.


def training_batches(data: MultiLabelDataModule, done: int = 0) -> list[dict[str, Any]]:
    """All batches of an epoch, from a number of them on."""
    data.setup("fit")
    data._num_batches_done = done
    loader = data.train_dataloader()
    batches: list[Any] = list(loader)
    loader._iterator = None  # As cyclic garbage, its processes would be waited for.
    return batches


def assert_equal(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_batches_are_those_of_the_files(table_root: Path, folder: Path, num_workers: int) -> None:
    files, own = table(table_root), shards(folder, num_workers=num_workers)
    assert own.vocabulary == files.vocabulary
    assert own.fingerprint == files.fingerprint
    whole = training_batches(files)
    assert_equal(training_batches(own), whole)
    # A run that was stopped after two batches goes on with the third.
    assert_equal(training_batches(shards(folder, num_workers=num_workers), 2), whole[2:])
    for split in ("val", "test"):
        for data in (files, own):
            data.setup("fit" if split == "val" else "test")
        loaders = [getattr(data, f"{split}_dataloader")() for data in (own, files)]
        assert_equal(*(list(loader) for loader in loaders))


def test_processes_share_an_epoch_as_they_share_the_files(table_root: Path, folder: Path) -> None:
    for rank in (0, 1):
        pair = []
        for data in (shards(folder), table(table_root)):
            data.setup("fit")
            sampler = ResumableSampler(data.trained_rows, 2, rank, seed=3)
            sampler.begin(1, 2)
            pair.append(list(data.loader(data.train_dataset, sampler=sampler)))
        assert_equal(*pair)


def test_content_is_stored_as_it_is_and_can_be_streamed(table_root: Path, folder: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    files = table(table_root).dataset(Split.TRAIN, table(table_root).evaluation_transform)
    names = table(table_root).vocabulary.names
    paths = sorted(str(path) for path in folder.glob("train-*.tar"))
    assert len(paths) == 7  # 20 images, 3 in each.
    samples = list(webdataset.WebDataset(paths, shardshuffle=False))
    assert [int(sample["__key__"]) for sample in samples] == list(range(20))
    for index, sample in enumerate(samples):
        assert sample["png"] == files.path(index).read_bytes()
        found = json.loads(sample["json"])
        target = files.target(index).tolist()
        present = [name for name, value in zip(names, target, strict=True) if value == 1]
        assert found == {"present": present, "unknown": [], "others": "absent"}


def test_images_that_are_not_files_and_unknown_labels_are_kept(tmp_path: Path) -> None:
    drawn = ShapesDataModule(5, 2, 2, images=VARIED, batch_size=4, num_workers=0)
    write_shards(drawn, tmp_path / "drawn", 2)
    assert_equal(training_batches(shards(tmp_path / "drawn")), training_batches(drawn))

    fake = FakeOpenImages(tmp_path / "openimages", (8, 4, 4)).write_v6()
    for unknown in ("ignore", "negative"):
        partial = OpenImagesDataModule(
            str(fake.root), unknown=unknown, images=VARIED, batch_size=4, num_workers=0
        )
        write_shards(partial, tmp_path / unknown, 3)
        own = shards(tmp_path / unknown, unlabelled="drop")
        assert_equal(training_batches(shards(tmp_path / unknown)), training_batches(partial))
        # Which have a label is told by the index.
        own.setup("fit")
        partial.setup("fit")
        expected = partial.train_dataset.has_label(slice(None))
        assert own.trained_rows.tolist() == np.flatnonzero(expected).tolist()
    with tarfile.open(tmp_path / "ignore" / "test-000000.tar") as tar:
        found = json.load(tar.extractfile("000000000.json"))  # type: ignore[arg-type]
    target = fake.target(fake.images["test"][0], "test", partial.vocabulary.names)
    assert found["others"] == "unknown"
    assert len(found["present"]) == target.count(1)
    assert len(found["absent"]) == target.count(0)


def test_a_stopped_writer_goes_on_where_it_was(
    table_root: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "stopped"
    data = table(table_root)
    original = type(data.dataset(Split.TRAIN, data.evaluation_transform)).encoded
    read: list[Path] = []

    def encoded(self: Any, index: int) -> tuple[bytes, str]:
        read.append(self.path(index))
        if len(read) == 11:  # The second image of the fourth shard.
            raise KeyboardInterrupt
        return original(self, index)

    monkeypatch.setattr("zsl.data.dataset.ImageFileDataset.encoded", encoded)
    with pytest.raises(KeyboardInterrupt):
        write_shards(data, other, 3)
    assert len(list(other.glob("*.tar"))) == 3
    with pytest.raises(InputError, match=r"stopped is not finished; write it with .* goes on"):
        shards(other)
    with pytest.raises(InputError, match=r"other data or settings \(images per shard differs\)"):
        write_shards(data, other, 4)
    # One of the whole shards is cut: it is written again, the others are not.
    cut = other / "train-000001.tar"
    cut.write_bytes(cut.read_bytes()[:-512])
    read.clear()
    read.extend([Path()] * 11)
    write_shards(data, other, 3)
    assert len(read) - 11 == 40 - 6
    for path in sorted(folder.rglob("*.*")):
        assert (other / path.relative_to(folder)).read_bytes() == path.read_bytes()
    assert len(list(other.rglob("*"))) == len(list(folder.rglob("*")))
    # Nothing is left to do.
    write_shards(data, other, 3)
    assert len(read) - 11 == 40 - 6


def test_damaged_folders_are_refused(
    folder: Path, table_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(copy: Path) -> None:
        data = shards(copy)
        data.setup("fit")
        data.val_dataloader()

    def problem(change: Any) -> str:
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy)
        change(copy)
        with pytest.raises(InputError) as error:
            read(copy)
        return str(error.value)

    def empty(copy: Path) -> None:
        shutil.rmtree(copy)
        copy.mkdir()

    def cut(path: Path) -> None:
        path.write_bytes(path.read_bytes()[:-700])

    assert "train-000002.tar has " in problem(lambda copy: cut(copy / "train-000002.tar"))
    assert "val-000000.tar is missing" in problem(lambda copy: (copy / "val-000000.tar").unlink())
    assert "holds no shards" in problem(empty)
    assert "does not exist; write it with" in problem(shutil.rmtree)
    assert "is not finished" in problem(lambda copy: (copy / "shards.json").unlink())
    assert "shards.json is damaged" in problem(lambda copy: cut(copy / "shards.json"))
    assert "val is not whole" in problem(lambda copy: cut(copy / "val" / "sizes.npy"))
    assert "val is not whole" in problem(lambda copy: (copy / "val" / "ends.npy").unlink())
    with pytest.raises(InputError, match="exists and holds no shards; name a folder"):
        write_shards(table(table_root), table_root, 3)
    # While a run goes on.
    data = shards(folder)
    data.setup("fit")
    cut(folder / "val-000003.tar")
    (folder / "val-000001.tar").unlink()
    dataset = data.val_dataset
    assert len(dataset) == 10
    with pytest.raises(InputError, match=r"val-000001.tar can't be read: No such file"):
        dataset.image(4)
    (folder / "val-000003.tar").write_bytes(b"")
    with pytest.raises(InputError, match=r"val-000003.tar is cut short; copy it anew"):
        dataset.pixels(9, 16)


def test_a_process_maps_the_index_and_copies_nothing(folder: Path) -> None:
    data = shards(folder)
    dataset = data.dataset(Split.TRAIN, data.evaluation_transform)
    assert len(pickle.dumps(dataset.index)) < 400
    copy = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(copy[7]["image"], dataset[7]["image"])


def test_sparse_targets_are_the_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zsl.data.sparse_targets._IMAGES_AT_ONCE", 3)
    random = np.random.default_rng(0)
    likely = ([0.8, 0.1, 0.1], [0.1, 0.8, 0.1])
    targets = [
        random.choice(np.array([-1, 0, 1], np.int8), 6, p=likely[row % 2]) for row in range(11)
    ]
    targets[4][:] = 0  # Nothing listed.
    SparseTargets.write(tmp_path, [TargetBlock.of(targets[:4]), TargetBlock.of(targets[4:])])
    sparse = SparseTargets(tmp_path, 6)
    assert len(sparse) == 11
    whole = np.stack([sparse.target(row).numpy() for row in range(11)])
    assert (whole == np.stack(targets)).all()
    for columns in ([0], [1, 4], range(6)):
        assert (sparse.has_label(columns) == (whole[:, columns] == 1).any(axis=1)).all()
    assert (sparse.count(1) == (whole == 1).sum(axis=0)).all()
