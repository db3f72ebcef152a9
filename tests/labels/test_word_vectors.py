import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from gensim.models import KeyedVectors

from zsl.errors import InputError
from zsl.labels import WordVectors, encoder_from_recipe
from zsl.labels import word_vectors as module

WORDS = ["dog", "polar", "bear", "polar_bear", "tree", "snow"]


@pytest.fixture
def vectors() -> KeyedVectors:
    vectors = KeyedVectors(5)
    vectors.add_vectors(WORDS, np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32))
    return vectors


@pytest.fixture(params=["glove.txt", "word2vec.txt", "word2vec.bin", "glove.txt.gz", "w2v.bin.gz"])
def path(request: pytest.FixtureRequest, tmp_path: Path, vectors: KeyedVectors) -> Path:
    """A file written by gensim itself."""
    path = tmp_path / request.param
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    vectors.save_word2vec_format(
        str(plain), binary=".bin" in path.name, write_header="glove" not in path.name
    )
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(plain.read_bytes()))
    return path


def test_names_get_their_vectors_from_any_format(path: Path, vectors: KeyedVectors) -> None:
    names = ["snow", "polar bear", "Dog", "snow tree"]
    found = WordVectors(str(path)).encode(names)
    expected = [
        vectors["snow"],
        vectors["polar_bear"],  # The phrase itself, not the mean of its words.
        vectors["dog"],
        (vectors["snow"] + vectors["tree"]) / 2,
    ]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.from_numpy(np.stack(expected)), rtol=0, atol=1e-5)


def test_the_file_is_read_once(
    tmp_path: Path, vectors: KeyedVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "glove.txt"
    vectors.save_word2vec_format(str(path), write_header=False)
    first = WordVectors(str(path)).encode(WORDS)
    monkeypatch.setattr(module.WordVectors, "_load", lambda self: pytest.fail("read again"))
    assert torch.equal(WordVectors(str(path)).encode(WORDS), first)


def test_the_recipe_makes_the_encoder_again(tmp_path: Path, vectors: KeyedVectors) -> None:
    path = tmp_path / "glove.txt"
    vectors.save_word2vec_format(str(path), write_header=False)
    encoder = WordVectors(str(path))
    again = encoder_from_recipe(encoder.recipe)
    assert isinstance(again, WordVectors)
    assert torch.equal(again.encode(["dog"]), encoder.encode(["dog"]))
    assert WordVectors().recipe == {"encoder": "WordVectors", "source": "glove-wiki-gigaword-300"}


def test_mistakes_are_named(tmp_path: Path, vectors: KeyedVectors) -> None:
    path = tmp_path / "glove.txt"
    vectors.save_word2vec_format(str(path), write_header=False)
    with pytest.raises(InputError, match=r"no vector for the label 'trea'.*'tree'"):
        WordVectors(str(path)).encode(["dog", "trea"])
    with pytest.raises(InputError, match="no vector for the label 'dog house'"):
        WordVectors(str(path)).encode(["dog house"])
    with pytest.raises(InputError, match=r"none\.txt do not exist; expected a file"):
        WordVectors(str(tmp_path / "none.txt")).encode(["dog"])
    path.write_text("dog 1 2 3\nbear 1 2\n")
    with pytest.raises(InputError, match=r"glove\.txt' could not be read"):
        WordVectors(str(path)).encode(["dog"])


def test_an_unknown_name_of_the_downloader_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import gensim.downloader

    def load(name: str) -> None:
        raise ValueError(f"Incorrect model/corpus name {name}")

    monkeypatch.setattr(gensim.downloader, "load", load)
    with pytest.raises(InputError, match=r"'glowe' could not be read or fetched \(Incorrect model"):
        WordVectors("glowe").encode(["dog"])


def test_the_real_vectors_of_the_names_of_nuswide(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "nuswide"
    with np.load(folder / "glove_wiki_gigaword_300.npz") as file:
        tags, concepts = file["tags"], file["concepts"]
    names = {
        name: vector
        for part, rows in (("TagList1k.txt", tags), ("Concepts81.txt", concepts))
        for name, vector in zip((folder / part).read_text().split(), rows, strict=True)
    }
    vectors = KeyedVectors(300)
    vectors.add_vectors(list(names), np.stack(list(names.values())))
    vectors.save_word2vec_format(str(tmp_path / "glove.txt"), write_header=False)
    found = torch.nn.functional.normalize(WordVectors(str(tmp_path / "glove.txt")).encode([*names]))
    neighbours = (found @ found.T).argsort(dim=1, descending=True)
    position = {name: row for row, name in enumerate(names)}
    for name, near in (("tiger", "lion"), ("snow", "rain"), ("wedding", "bride")):
        assert near in [[*names][row] for row in neighbours[position[name], 1:7]]
