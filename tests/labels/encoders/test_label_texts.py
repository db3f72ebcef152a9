"""Label vectors made of texts: what is embedded, and what is said where there is none."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from tests.fakes.encoders import write_clip
from zsl.errors import InputError
from zsl.labels import Concatenation, LabelEncoder, SentenceEncoder, encoder_from_recipe
from zsl.labels.encoders import texts as text_files

TEXTS = """\
dog: [a furry animal that barks, a pet on a leash]
polar bear: a white bear on ice
heron: "a long-legged bird: it wades"
"""


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZSL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "animals.yaml"
    path.write_text(TEXTS)
    return path


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("templates", [["{}"], ["a photo of a {}", "the {}"]])
def test_a_vector_is_made_of_name_and_texts_in_equal_parts(
    tmp_path: Path, templates: list[str], normalize: bool
) -> None:
    folder = write_clip(tmp_path / "clip")  # Whose vectors have other lengths than 1.
    model = SentenceTransformer(str(folder))
    (tmp_path / "texts.yaml").write_text("dog: [barks, 'a {} pet']\npolar bear: white\n")
    encoder = SentenceEncoder(str(folder), templates, normalize, texts=str(tmp_path / "texts.yaml"))

    def mean(sentences: list[str]) -> np.ndarray:
        rows = [model.encode(sentence) for sentence in sentences]
        lengths = [np.linalg.norm(row) if normalize else 1 for row in rows]
        return np.mean([row / length for row, length in zip(rows, lengths, strict=True)], axis=0)

    found = encoder.encode(["dog", "polar bear", "cat"]).numpy()
    names = [[template.format(name) for template in templates] for name in ("dog", "polar bear")]
    expected = [
        (mean(names[0]) + mean(["barks", "a {} pet"])) / 2,
        (mean(names[1]) + mean(["white"])) / 2,
        mean([template.format("cat") for template in templates]),
    ]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_what_a_vector_is_made_of_is_told(file: Path) -> None:
    encoder = SentenceEncoder(template=["a {}", "the {}"], texts=str(file))
    assert encoder.origins(["dog", "cat"]) == [
        "'a dog', and 1 more | 'a furry animal that barks', 'a pet on a leash'",
        "'a cat', and 1 more",
    ]


def test_vectors_of_changed_texts_are_made_again(file: Path, empty_cache: Path) -> None:
    def embed() -> torch.Tensor:
        return SentenceEncoder(texts=str(file)).encode(["dog", "heron"])

    first = embed()
    file.write_text(TEXTS + "cat: a pet that purrs\n")
    assert torch.equal(embed(), first)
    assert len(list(empty_cache.rglob("*.safetensors"))) == 1
    file.write_text(TEXTS.replace("barks", "howls"))
    changed = embed()
    assert not torch.allclose(changed[0], first[0], atol=1e-3)
    torch.testing.assert_close(changed[1], first[1], atol=1e-6, rtol=1e-5)


def test_labels_without_a_text_are_reported(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = ["dog", "cat", "cow"]
    for _ in range(2):  # Where the vectors come from the cache too.
        caplog.clear()
        SentenceEncoder(texts=str(file)).encode(names)
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert record.getMessage() == (
            f"note: 2 of 3 labels have no text in {file} ('cat', 'cow'); they are embedded by "
            "their names alone."
        )
    caplog.clear()
    SentenceEncoder(texts=str(file)).encode(["Dog", "polar_bear", "POLAR-BEAR"])
    assert not caplog.records
    with pytest.raises(
        InputError, match=r"a text for none of the 2 labels \('dogs', 'x'\), but f"
    ) as e:
        SentenceEncoder(texts=str(file)).encode(["dogs", "x"])
    assert "Did you mean 'dog'?" in str(e.value)


def trained(file: Path, names: list[str]) -> LabelEncoder:
    """The encoder of a checkpoint that was trained with these labels."""
    encoder = SentenceEncoder(texts=str(file))
    vectors = encoder.encode(names)
    again = encoder_from_recipe(encoder.recipe)
    again.remember(names, vectors)
    return again


def test_new_labels_of_a_checkpoint_have_the_texts_of_its_file(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = trained(file, ["dog", "heron"])
    expected = SentenceEncoder(texts=str(file)).encode(["polar bear"])
    assert torch.equal(encoder.encode(["polar bear"]), expected)
    assert not caplog.records
    encoder.encode(["cat"])
    assert "1 of 1 new labels have no text" in caplog.text
    assert "scores may be lower" in caplog.text


def test_a_checkpoint_outlives_its_file_of_texts(
    file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = trained(file, ["dog", "heron"])
    own = encoder.encode(["heron", "dog"])
    file.unlink()
    with pytest.raises(InputError, match="with which the model was trained, are not there; bring"):
        encoder.encode(["polar bear"])
    encoder.add_texts({"polar bear": ["a white bear on ice"], "dog": ["not used"]})
    assert torch.equal(encoder.encode(["heron", "dog"]), own)
    other = tmp_path / "other.yaml"
    other.write_text("polar bear: a white bear on ice")
    expected = SentenceEncoder(texts=str(other)).encode(["polar bear"])
    torch.testing.assert_close(encoder.encode(["polar bear"]), expected)
    assert not caplog.records


def test_added_texts_win_and_may_be_added_again(file: Path) -> None:
    encoder = trained(file, ["dog"])
    first = encoder.encode(["polar bear", "heron"])
    encoder.add_texts({"Polar_Bear": ["a toy"], "heron": ["a long-legged bird: it wades"]})
    encoder.add_texts({"Polar_Bear": ["a plush toy"]})
    second = encoder.encode(["polar bear", "heron"])
    assert encoder.origins(["polar bear"]) == ["'polar bear' | 'a plush toy'"]
    assert not torch.allclose(first[0], second[0], atol=1e-3)
    torch.testing.assert_close(first[1], second[1], atol=1e-6, rtol=1e-5)


def test_what_is_trained_on_names_takes_no_texts() -> None:
    encoder = SentenceEncoder()
    with pytest.raises(InputError, match="embedded by their names alone"):
        encoder.add_texts({"dog": ["barks"]})
    with pytest.raises(InputError, match="embedded by their names alone"):
        Concatenation([encoder, encoder]).add_texts({"dog": ["barks"]})


def test_one_of_two_encoders_takes_texts(file: Path) -> None:
    parts: list[LabelEncoder] = [
        SentenceEncoder(scale="unit_norm"),
        SentenceEncoder(texts=str(file), scale="unit_norm"),
    ]
    names = ["dog", "heron"]
    both = Concatenation(parts)
    assert torch.equal(both.encode(names), torch.cat([p.encode(names) for p in parts], dim=1))
    again = encoder_from_recipe(both.recipe)
    assert again.recipe == both.recipe
    assert torch.equal(again.encode(["polar bear"]), both.encode(["polar bear"]))
    again.add_texts({"polar bear": ["a plush toy"]})
    assert again.origins(["polar bear"]) == ["'polar bear' | 'polar bear' | 'a plush toy'"]
    assert torch.equal(again.encode(["polar bear"])[:, :384], parts[0].encode(["polar bear"]))


def test_the_name_of_a_shipped_file_is_what_a_checkpoint_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "animals.yaml").write_text(TEXTS)
    monkeypatch.setattr(text_files, "_shipped_folder", lambda: folder)
    monkeypatch.chdir(tmp_path)
    encoder = SentenceEncoder(texts="animals")
    encoder.encode(["dog"])
    assert encoder.recipe["init_args"]["texts"] == "animals"
    (tmp_path / "animals").mkdir()  # A folder of that name is not the file.
    torch.testing.assert_close(
        encoder_from_recipe(encoder.recipe).encode(["heron"]), encoder.encode(["heron"])
    )
    with pytest.raises(InputError, match=r"nor one of the shipped ones \(animals\)\. Did you mean"):
        SentenceEncoder(texts="animal").encode(["dog"])
