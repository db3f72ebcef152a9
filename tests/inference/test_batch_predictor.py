"""Tagging batch by batch: in this process, pickled, and in the workers of Ray Data."""

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import zsl
from tests.fakes.checkpoints import COLOUR_TEXTS, write_calibrated, write_checkpoint
from tests.fakes.parts import tiny_head
from zsl.errors import InputError
from zsl.inference.batch_predictor import BatchPredictor
from zsl.inference.prediction_rows import SCHEMA
from zsl.labels import SentenceEncoder

LABELS = ["pink", "red", "grey"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_calibrated(tmp_path_factory.mktemp("run"))


@pytest.fixture
def photos(checkpoint: Path) -> list[Path]:
    return sorted((checkpoint.parents[1] / "photos" / "images").iterdir())[:5]


def batch_of(paths: list[Path]) -> dict[str, np.ndarray]:
    """As Ray Data makes it."""
    contents = np.empty(len(paths), dtype=object)
    contents[:] = [path.read_bytes() for path in paths]
    return {"bytes": contents, "path": np.array([str(path) for path in paths], dtype=object)}


@pytest.mark.parametrize(
    "options",
    [{}, {"top_k": 1}, {"threshold": 0.5}, {"decide": "f1"}, {"top_k": 3, "raw": True}],
    ids=str,
)
def test_it_predicts_what_the_tagger_does(
    checkpoint: Path, photos: list[Path], options: dict[str, Any]
) -> None:
    expected = zsl.Tagger.from_pretrained(checkpoint).predict(photos, LABELS, **options)
    table = BatchPredictor(str(checkpoint), LABELS, **options)(batch_of(photos))
    assert table.schema == SCHEMA
    for row, path, prediction in zip(table.to_pylist(), photos, expected, strict=True):
        assert row["image"] == str(path)
        assert row["labels"] == prediction.labels
        assert row["scores"] == pytest.approx(prediction.scores, abs=1e-6)
        assert row["error"] is None


def test_unlike_images_are_marked_and_get_no_decision(
    checkpoint: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = [False, True, False, True, False]
    monkeypatch.setattr(zsl.Tagger, "is_unlike", lambda *_: torch.tensor(flags))
    decided = BatchPredictor(str(checkpoint), LABELS, decide="f1")
    decided._selection = decided._selection._replace(threshold=0.0)
    for predictor, empty in ((decided, flags), (BatchPredictor(str(checkpoint)), [False] * 5)):
        table = predictor(batch_of(photos)).to_pydict()
        assert table["unlike_training_images"] == flags
        assert [not labels for labels in table["labels"]] == empty


def test_broken_files_keep_their_rows(checkpoint: Path, photos: list[Path]) -> None:
    batch = batch_of(photos)
    for index in (0, 3):
        batch["bytes"][index] = b"no image"
    predictor = BatchPredictor(str(checkpoint), LABELS)
    table = predictor(batch).to_pylist()
    assert [row["image"] for row in table] == [str(path) for path in photos]
    assert [row["error"] is not None for row in table] == [True, False, False, True, False]
    assert f"The image {photos[3]} can't be read (not an image)" in table[3]["error"]
    assert table[3]["labels"] == table[3]["scores"] == []
    assert table[4]["labels"]
    empty: dict[str, np.ndarray] = {"bytes": np.array([]), "path": np.array([])}
    assert predictor(empty).schema == SCHEMA
    with pytest.raises(InputError, match=r"no column 'path' \(found: bytes, id\); expected bytes"):
        predictor({"bytes": batch["bytes"], "id": batch["path"]})


def test_it_is_pickled_as_its_arguments(checkpoint: Path, photos: list[Path]) -> None:
    predictor = BatchPredictor(str(checkpoint), LABELS, top_k=2)
    pickled = pickle.dumps(predictor)
    assert len(pickled) < 1000
    again = pickle.loads(pickled)
    assert again.depends_on() == predictor.depends_on()
    assert again(batch_of(photos)).equals(predictor(batch_of(photos)))


def test_predictions_depend_on_checkpoint_labels_texts_and_options(
    checkpoint: Path, tmp_path: Path, in_tmp_path: Path
) -> None:
    """Any other of these shows; where the checkpoint lies does not."""
    Path("texts.yaml").write_text(COLOUR_TEXTS)
    Path("mine.yaml").write_text("pink: pale blue\n")
    described = write_checkpoint(tmp_path / "texts", encoder=SentenceEncoder(texts="texts.yaml"))
    other_head = write_checkpoint(tmp_path / "head", head=tiny_head(num_groups=3))
    zsl.Tagger.from_pretrained(checkpoint).save_pretrained("shared")

    def made_with(*arguments: Any, **options: Any) -> dict[str, Any]:
        return BatchPredictor(*arguments, **options).depends_on()

    first = made_with(str(checkpoint), LABELS)
    assert made_with("shared", LABELS, top_k=5) == first
    others = [
        first,
        made_with(str(other_head), LABELS),
        made_with(str(checkpoint), LABELS[:2]),
        made_with(str(checkpoint), LABELS, top_k=4),
        made_with(str(checkpoint), LABELS, threshold=0.5),
        made_with(str(checkpoint), LABELS, decide="f1"),
        made_with(str(checkpoint), LABELS, decide="precision=0.5"),
        made_with(str(checkpoint), LABELS, raw=True),
        made_with(str(described), LABELS[:2]),
        made_with(str(described), LABELS[:2], texts="mine.yaml"),
    ]
    assert all(one != another for n, one in enumerate(others) for another in others[:n])


@pytest.mark.slow
def test_two_workers_of_ray_data(checkpoint: Path, photos: list[Path], in_tmp_path: Path) -> None:
    """The example of the documentation; one file is broken."""
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    Path("best.ckpt").write_bytes(checkpoint.read_bytes())
    folder = Path("photos")
    folder.mkdir()
    for number in range(40):
        (folder / f"{number}.png").write_bytes(photos[number % 5].read_bytes())
    (folder / "broken.png").write_bytes(b"no image")
    page = (Path(__file__).parents[2] / "docs" / "predict.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(import ray\n.*?)```", page, re.DOTALL)
    ray.init(num_cpus=3, include_dashboard=False, configure_logging=False, log_to_driver=False)
    try:
        exec(example.replace('"dog", "beach"', '"pink", "red"'), {})
    finally:
        ray.shutdown()
    table = pd.read_parquet("tags").set_index("image")
    assert sorted(table.index) == sorted(str(path) for path in folder.iterdir())
    assert list(table.index[table["error"].notna()]) == [str(folder / "broken.png")]
    expected = zsl.Tagger.from_pretrained(checkpoint).predict(photos, ["pink", "red"])
    for number in range(40):
        row = table.loc[str(folder / f"{number}.png")]
        assert list(row["labels"]) == expected[number % 5].labels
        assert list(row["scores"]) == pytest.approx(expected[number % 5].scores, abs=1e-5)
