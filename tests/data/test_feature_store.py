"""The feature store: the same numbers as the frozen backbone, and nothing else's."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.test_table import edit
from tests.fakes.threads import run_command
from tests.fakes.weights import write_weights
from zsl.commands.evaluate import main as evaluate
from zsl.commands.fit import main as fit
from zsl.commands.prepare import main as prepare
from zsl.data import FeatureStore, FeatureWriter, ImageConfig, Split, TableDataModule
from zsl.data.feature_store import FeatureDataset
from zsl.data.seeds import Draw, seeds
from zsl.errors import InputError

TINY = [
    "--config=table.yaml",
    "--model.closed_form=null",
    "--config=data/features.yaml",
    "--data.batch_size=8",
]
TINY += ["--data.images.size=32", "--model.backbone.name=test_resnet", "--model.backbone.stride=16"]
TINY += ["--model.head.embed_dim=16", "--model.head.feedforward_dim=16"]
TINY += ["--trainer.max_epochs=2", "--trainer.accelerator=cpu", "--data.num_workers=0"]


@pytest.fixture
def tiny(table_root: Path, in_tmp_path: Path) -> list[str]:
    weights = write_weights(in_tmp_path.parent / "weights.pt")
    return [*TINY, f"--model.backbone.weights={weights}", f"--data.root={table_root}"]


def last_metrics(version: int) -> tuple[str, dict[str, float]]:
    run = Path("runs/table") / f"version_{version}"
    return (run / "metrics.csv").read_text(), json.loads((run / "results.json").read_text())


def test_training_from_a_store_gives_the_numbers_of_the_frozen_run(
    tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(tiny) == 0
    assert prepare(["features", *tiny, "--data.features=store"]) == 0
    output = capsys.readouterr().out
    assert "train: 20 images\n" in output
    assert "4 × 192 values an image, float16" in output
    assert fit([*tiny, "--data.features=store"]) == 0
    assert last_metrics(0) == last_metrics(1)

    # Its checkpoint needs the store no more than any other.
    checkpoint = "--checkpoint=runs/table/version_1/checkpoints/best.ckpt"
    for more in ([], ["--data.features=null"]):
        assert evaluate([checkpoint, *more]) == 0
        path = Path("runs/table/version_1/checkpoints/best_evaluation/results.json")
        found = json.loads(path.read_text())
        fitted = last_metrics(0)[1]
        assert {name: found[name] for name in fitted} == fitted


def test_processes_write_the_store_of_one(tiny: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = [*tiny, "--data.batch_size=3"]
    assert prepare(["features", *tiny, "--data.features=store"]) == 0
    arguments = ["features", *tiny, "--data.features=together"]
    assert run_command(monkeypatch, prepare, arguments) == 0
    assert contents("together") == contents("store")


def contents(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


@pytest.mark.parametrize("batch_size", [1, 3, 4])
def test_a_stopped_writer_goes_on_with_whole_batches(
    batch_size: int, tmp_path: Path, table_root: Path
) -> None:
    data = TableDataModule(str(table_root), images=ImageConfig(32))
    images = data.dataset(Split.TRAIN, data.training_transform)  # 20
    tokens = torch.randn(40, 2, 5)

    def write(stop: int | None, backbone: str, tokens: torch.Tensor) -> int:
        views = {"views": (2, 3)}
        store = tmp_path / "store"
        with FeatureWriter.create(store, {"backbone": backbone}, views) as writer:
            done = writer.begin(Split.TRAIN, images, 2, batch_size)
            writer.write(tokens[done:stop])
            if stop is not None:
                part = writer.folder / "train.npy"
                with part.open("r+b") as file:  # It was killed as it wrote.
                    file.truncate(part.stat().st_size - 13)
                raise KeyboardInterrupt
        assert np.array_equal(np.load(store / "train.npy"), tokens.half().numpy())
        assert [path.name for path in tmp_path.iterdir() if "store" in path.name] == ["store"]
        return done

    for stop in (17, 33, 40):
        with pytest.raises(KeyboardInterrupt):
            write(stop, "one", tokens)
        assert not (tmp_path / "store").exists()
    assert write(None, "one", tokens) == 39 - 19 % batch_size
    with pytest.raises(KeyboardInterrupt):
        write(40, "one", tokens)
    assert write(None, "another", -tokens) == 0


def test_the_store_holds_the_tokens_in_float16(tiny: list[str]) -> None:
    assert prepare(["features", *tiny, "--data.features=store"]) == 0
    store = FeatureStore("store")
    data = TableDataModule(tiny[-1].partition("=")[2], images=ImageConfig(32))
    images = data.dataset(Split.VAL, data.evaluation_transform)
    served = store.serve(Split.VAL, images)
    assert served[3]["tokens"].shape == (4, 192)
    assert served[3]["tokens"].dtype == torch.float16
    batch = served.__getitems__([7, 3])
    assert torch.equal(batch["tokens"][1], served[3]["tokens"])
    assert torch.equal(batch["target"][0], images.target(7))
    assert served.image(3).tobytes() == images.image(3).tobytes()
    assert not list(Path().glob(".partial*"))


def test_other_features_than_the_configs_are_refused(
    tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    store, other = "--data.features=store", write_weights(Path("other.pt"), seed=1)
    assert prepare(["features", *tiny, store]) == 0
    for change, message in (
        ("--model.backbone.stride=8", "was made with stride 16, but the model has stride 8"),
        ("--data.images.size=48", "was made with image_size 32, but the model has image_size 48"),
        ("--data.images.center_crop=0.9", "made with center_crop None, but the data has center_"),
        ("--data.images.interpolation=bicubic", "made with interpolation bilinear, but the data"),
        (f"--model.backbone.weights={other}", "was made with weights "),
        ("--model.backbone.frozen=false", "tokens of a frozen backbone"),
        (
            "--data.images.horizontal_flip=true",
            "plain images, but images.horizontal_flip True varies them; raise views",
        ),
        ("--data.features=elsewhere", "elsewhere does not exist; make one with"),
    ):
        assert fit([*tiny, store, change]) == 2
        assert message in capsys.readouterr().err


def test_other_images_are_refused_other_labels_are_not(
    tiny: list[str], table_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = [*tiny, "--data.features=store"]
    assert prepare(["features", *tiny]) == 0
    edit(table_root / "classes.csv", "blue,seen", "blue,held_out")
    assert fit(tiny) == 0
    edit(table_root / "labels.csv", ",train", ",val")
    assert fit(tiny) == 2
    assert "was made of other train images than the data now has" in capsys.readouterr().err
    (table_root / "images" / "1.png").unlink()
    assert fit(tiny) == 2
    assert "1.png is missing" in capsys.readouterr().err


def test_of_several_views_one_is_drawn_each_time(
    tiny: list[str], table_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = [*tiny, "--data.features=store", "--data.views=5"]
    assert prepare(["features", *tiny]) == 2
    assert "views is 5, but nothing varies" in capsys.readouterr().err
    tiny += ["--data.images.min_crop=0.3"]
    assert prepare(["features", *tiny]) == 0
    assert "train: 20 images in 5 views\n" in capsys.readouterr().out
    assert prepare(["features", *tiny, "--data.features=other", "--data.num_workers=2"]) == 0
    assert Path("store/train.npy").read_bytes() == Path("other/train.npy").read_bytes()
    stored = torch.from_numpy(np.load("store/train.npy"))
    assert stored.shape == (100, 4, 192)
    assert len(np.load("store/val.npy")) == 10
    assert fit(tiny) == 0
    data = TableDataModule(
        str(table_root),
        images=ImageConfig(32, min_crop=0.3),
        features="store",
        views=5,
    )
    data.setup("fit")
    drawn = [data.train_dataset[Draw(7, seed)]["tokens"] for seed in seeds(60, 0).tolist()]
    views = stored[7::20]
    assert not torch.equal(views[0], views[1])
    found = {int((views == tokens).flatten(1).all(1).nonzero()) for tokens in drawn}
    assert found == {0, 1, 2, 3, 4}
    assert fit([*tiny, "--data.images.min_crop=0.5"]) == 2
    assert "made with min_crop 0.3, but the data has min_crop 0.5" in capsys.readouterr().err


def test_a_damaged_store_is_one_sentence(tiny: list[str]) -> None:
    assert prepare(["features", *tiny, "--data.features=store"]) == 0
    data = TableDataModule(tiny[-1].partition("=")[2], images=ImageConfig(32))
    images = data.dataset(Split.TRAIN, data.evaluation_transform)
    path = Path("store/train.npy")
    whole = path.read_bytes()
    for damage in (whole[:-10], whole[:20], b""):
        path.write_bytes(damage)
        with pytest.raises(InputError, match="missing or not whole"):
            FeatureStore("store").serve(Split.TRAIN, images)
    np.save(path, np.zeros((3, 4, 192), np.float16))
    with pytest.raises(InputError, match=r"has the shape \(3, 4, 192\); expected \(20, 4, 192\)"):
        FeatureStore("store").serve(Split.TRAIN, images)
    Path("store/features.json").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        FeatureStore("store")


def test_what_prepare_refuses(tiny: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["features", *tiny], "data.features is not set"),
        (["featurs", *tiny], "Did you mean 'features'?"),
        (
            ["features", *tiny, "--data.features=store", "--model.backbone.frozen=false"],
            "model.backbone.frozen is false",
        ),
    ):
        assert prepare(arguments) == 2
        assert message in capsys.readouterr().err
    Path("thesis").mkdir()
    assert prepare(["features", *tiny, "--data.features=thesis"]) == 2
    assert "thesis exists and is not a feature store" in capsys.readouterr().err
    assert Path("thesis").is_dir()


def test_missing_images_are_refused_before_a_store_is_begun(
    tiny: list[str], table_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (table_root / "images" / "3.png").unlink()  # Of the test.
    assert prepare(["features", *tiny, "--data.features=store"]) == 2
    captured = capsys.readouterr()
    assert "1 of 10 test images are missing" in captured.err
    assert "train: " not in captured.out
    assert not list(Path().glob("*store*"))


def write_store(folder: Path, images: FeatureDataset, tokens: torch.Tensor) -> None:
    with FeatureWriter.create(folder, {"backbone": "none"}, {"views": 1}) as writer:
        writer.begin(Split.TRAIN, images, 1, 4)
        for part in tokens.split(3):
            writer.write(part)


def test_a_store_is_written_whole_or_not_at_all(tmp_path: Path, table_root: Path) -> None:
    data = TableDataModule(str(table_root), images=ImageConfig(32))
    images = FeatureDataset(tmp_path / "none", data.dataset(Split.TRAIN, data.training_transform))
    tokens = torch.randn(20, 2, 5)
    folder = tmp_path / "store"
    with pytest.raises(InputError, match="not all finite numbers in float16"):
        write_store(folder, images, tokens * 1e6)
    assert not folder.exists()
    assert not list(tmp_path.glob(".partial*"))
    write_store(folder, images, tokens)
    served = FeatureStore(folder).serve(Split.TRAIN, images)
    assert torch.equal(served.__getitems__([*range(20)])["tokens"], tokens.half())
    with pytest.raises(InputError):  # An older store outlives a failure.
        write_store(folder, images, tokens * 1e6)
    write_store(folder, images, -tokens)
    assert torch.equal(served.__getitems__([19])["tokens"][0], -tokens[19].half())


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_what_was_read_does_not_stay_in_memory(tmp_path: Path, table_root: Path) -> None:
    def resident() -> float:
        """MB of mapped files; what is computed of them comes and goes in other memory."""
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssFile")) / 1e3

    data = TableDataModule(str(table_root), images=ImageConfig(32))
    images = data.dataset(Split.TRAIN, data.training_transform)
    np.save(tmp_path / "train.npy", np.ones((20, 1000, 2500), np.float16))  # 100 MB
    served = FeatureDataset(tmp_path / "train.npy", images)
    served.__getitems__([0])
    before = resident()
    for index in range(20):
        assert served.__getitems__([index])["tokens"].sum(dtype=torch.float32) == 2.5e6
    assert resident() - before < 60
