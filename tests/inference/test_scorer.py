"""Labels asked of images: scores, those that are kept, and new labels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import zsl
from tests.fakes.checkpoints import COLOUR_TEXTS, NEW_LABELS, write_checkpoint
from tests.inference.images import pixels
from zsl.errors import InputError
from zsl.files.checkpoints import read_checkpoint
from zsl.labels import SentenceEncoder
from zsl.models import ConSEConfig, TaggerNetwork
from zsl.tasks.zero_shot import ZeroShotTask


def test_it_says_what_the_task_says(
    checkpoint: Path, tagger: zsl.Tagger, pictures: list[Path]
) -> None:
    task = ZeroShotTask.restore(read_checkpoint(checkpoint)).eval()
    names = [*NEW_LABELS, *task.vocabulary.names[::-1]]
    with torch.no_grad():
        logits = task(pixels(pictures), task.encoder.encode(names))
    predictions = tagger.predict(pictures, names, top_k=len(names), batch_size=2)
    for row, prediction in zip(logits, predictions, strict=True):
        order = row.argsort(descending=True)
        assert prediction.scores == pytest.approx(row.sigmoid()[order].tolist(), abs=2e-3)
        found = [float(row[names.index(label)]) for label in prediction.labels]
        assert found == pytest.approx(row[order].tolist(), abs=2e-2)
    assert len({tuple(prediction.scores) for prediction in predictions}) > 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_it_predicts_in_half_precision(
    checkpoint: Path, tagger: zsl.Tagger, pictures: list[Path], dtype: torch.dtype
) -> None:
    half = zsl.Tagger.from_pretrained(checkpoint).to(dtype)
    for labels in (None, NEW_LABELS):
        expected, found = tagger.predict(pictures, labels), half.predict(pictures, labels)
        for one, other in zip(expected, found, strict=True):
            assert one.scores == pytest.approx(other.scores, abs=0.02)
    assert half.attention(pictures[0]).dtype == torch.float32
    (tokens,) = half.token_batches(pictures[0])
    assert bool(half.heat_maps(tokens, NEW_LABELS).isfinite().all())


def test_labels_are_prepared_once_for_all_batches(
    normalised: Path, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tagger = zsl.Tagger.from_pretrained(normalised)
    prepare, calls = TaggerNetwork.prepare, []

    def counted(network: TaggerNetwork, queries: torch.Tensor) -> Any:
        calls.append(queries)
        return prepare(network, queries)

    monkeypatch.setattr(TaggerNetwork, "prepare", counted)
    names = ["pink", "red"]
    predicted = tagger.predict(pictures, names, batch_size=2)
    assert len(calls) == 1
    # By another way: all tensors at once, from vectors.
    with torch.no_grad():
        logits = tagger(pixels(pictures), tagger.embed(names)[1])
    for row, prediction in zip(logits.sigmoid(), predicted, strict=True):
        found = [float(row[names.index(label)]) for label in prediction.labels]
        assert found == pytest.approx(prediction.scores, abs=2e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_normalised_scores_are_probabilities_in_half_precision(
    normalised: Path, pictures: list[Path], dtype: torch.dtype
) -> None:
    """Not the same ones: images of a network with random weights hardly differ."""
    half = zsl.Tagger.from_pretrained(normalised).to(dtype)
    for labels in (None, NEW_LABELS):
        for prediction in half.predict(pictures, labels):
            assert all(0 <= score <= 1 for score in prediction.scores)


def test_top_k_and_threshold(tagger: zsl.Tagger, pictures: list[Path]) -> None:
    every = tagger.predict(pictures, top_k=1000)
    assert {len(labels) for labels, _ in every} == {8}
    assert tagger.predict(pictures) == [zsl_prefix(p, 5) for p in every]
    assert tagger.predict(pictures, top_k=2) == [zsl_prefix(p, 2) for p in every]
    limit = sorted(score for _, scores in every for score in scores)[20]
    for top_k in (None, 3):
        predictions = tagger.predict(pictures, top_k=top_k, threshold=limit)
        for (labels, scores), (all_labels, all_scores) in zip(predictions, every, strict=True):
            count = min(sum(score >= limit for score in all_scores), top_k or 8)
            assert (labels, scores) == (all_labels[:count], all_scores[:count])


def zsl_prefix(prediction: Any, count: int) -> tuple[list[str], list[float]]:
    return prediction.labels[:count], prediction.scores[:count]


def test_paths_and_pictures_are_the_same(tagger: zsl.Tagger, pictures: list[Path]) -> None:
    by_path = tagger.predict([str(path) for path in pictures])
    assert tagger.predict([Image.open(path) for path in pictures]) == by_path
    assert tagger.predict(Image.open(pictures[1])) == tagger.predict([pictures[1]])
    assert tagger.predict([]) == []
    with Image.open(pictures[0]) as picture:
        others = [*tagger.predict(pictures[0]), *tagger.predict([picture] * 8)]
    for found in others:
        # Batches of another size are summed in another order on some machines.
        assert found.labels == by_path[0].labels
        assert found.scores == pytest.approx(by_path[0].scores, rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": ["red", "red"]}, "label 2: 'red' is there twice"),
        ({"labels": ["red", " "]}, "label 2: the label name is empty"),
        ({"labels": []}, "There are no labels to score"),
        ({"labels": ["blurple"]}, "has no vector for the label 'blurple'"),
        ({"top_k": 0}, "top_k is 0; expected 1 or more"),
        ({"threshold": 1.5}, "threshold is 1.5; expected 0 to 1"),
        ({"batch_size": 0}, "batch_size is 0; expected 1 or more"),
        ({"images": "nowhere.jpg"}, "The image nowhere.jpg can't be read"),
        ({"images": [3]}, "An image is of type int; expected a path"),
        ({"images": Image.new("RGB", (0, 0))}, "The image given can't be read"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    tagger: zsl.Tagger, pictures: list[Path], arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        tagger.predict(**{"images": pictures, **arguments})


def test_another_source_of_vectors_is_refused(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "run")
    tagger = zsl.Tagger.from_pretrained(path)
    arrays = dict(np.load(tmp_path / "run" / "vectors.npz"))
    np.savez(tmp_path / "run" / "vectors.npz", **{**arrays, "vectors": arrays["vectors"] + 1})
    tagger.embed(["red"])  # Its vector is in the checkpoint.
    with pytest.raises(InputError, match="has changed since the first labels were embedded"):
        tagger.embed(["pink"])


def test_new_labels_may_be_given_texts(
    tmp_path: Path, tagger: zsl.Tagger, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the file that it was trained with is gone too, and from a folder to share."""
    file = tmp_path / "texts.yaml"
    file.write_text(COLOUR_TEXTS)
    pink = SentenceEncoder(texts=str(file)).encode(["pink"])
    encoder = SentenceEncoder(texts=str(file))
    checkpoint = write_checkpoint(tmp_path / "run", encoder=encoder)
    zsl.Tagger.from_pretrained(checkpoint).save_pretrained(tmp_path / "shared")
    file.unlink()
    for source in (checkpoint, tmp_path / "shared"):
        own = zsl.Tagger.from_pretrained(source)
        expected = torch.cat([own.own_queries[own.vocabulary.indices(["red"])], pink])
        assert own.predict(Image.new("RGB", (9, 7)))
        with pytest.raises(InputError, match=r"texts\.yaml, with which the model was trained, are"):
            own.embed(["red", "pink"])
        caplog.clear()
        own.add_texts({"pink": "pale red", "grey": ["of ash", "of rain"]})
        assert not caplog.records
        names, queries = own.embed(["red", "pink"])
        assert names == ["red", "pink"]
        torch.testing.assert_close(queries, expected, atol=1e-6, rtol=1e-5)
        own.add_texts({"red": "pale blue"})
        assert "note: the texts of 'red' are not used" in caplog.text
        torch.testing.assert_close(own.embed(["red", "pink"])[1], expected, atol=1e-6, rtol=1e-5)
        with pytest.raises(InputError, match="A text of the label 'grey' is empty"):
            own.add_texts({"pink": "pale red", "grey": [" "]})
    with pytest.raises(InputError, match="embedded by their names alone"):
        tagger.add_texts({"pink": "pale red"})


def test_scores_of_cosines_are_told_as_they_are(tmp_path: Path) -> None:
    tagger = zsl.Tagger.from_pretrained(write_checkpoint(tmp_path / "run", head=ConSEConfig()))
    (_, scores), *_ = tagger.predict([Image.new("RGB", (9, 7), "red")], top_k=8)
    red = torch.tensor([255, 0, 0], dtype=torch.uint8).view(1, 3, 1, 1)
    logits = tagger(red.expand(-1, -1, 64, 64))
    assert scores == pytest.approx(sorted(logits[0].tolist(), reverse=True))
    assert tagger.predict([Image.new("RGB", (9, 7))], threshold=-1.0)[0].scores


def test_scores_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    tagger = zsl.Tagger.from_pretrained(write_checkpoint(tmp_path / "run"))
    torch.nn.init.constant_(next(tagger.network.head.parameters()), torch.nan)
    with pytest.raises(InputError, match=r"scores are not numbers \(NaN\)"):
        tagger.predict(Image.new("RGB", (64, 64)))
