import gzip
import pickle
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from gensim.models import FastText, KeyedVectors, Word2Vec
from gensim.models.fasttext import save_facebook_model

from zsl.errors import InputError
from zsl.labels import WordVectors, encoder_from_recipe
from zsl.labels.encoders import word_vectors
from zsl.labels.encoders.word_sources import find_words

WORDS = [
    "dog",
    "polar",
    "bear",
    "polar_bear",
    "tree",
    "snow",
    "ice-cream",
    "Paris",
    "whale",
    "city",
]
SENTENCES = [["the", "dog", "runs"], ["polar", "bear", "snow"], ["tree", "snow", "whale"]] * 20


@pytest.fixture
def vectors() -> KeyedVectors:
    model = Word2Vec([WORDS] * 20, vector_size=5, min_count=1, epochs=1, seed=0, workers=1)
    return model.wv


@pytest.fixture
def glove(tmp_path: Path, vectors: KeyedVectors) -> Path:
    path = tmp_path / "glove.txt"
    vectors.save_word2vec_format(str(path), write_header=False)
    return path


@pytest.mark.parametrize(
    "name",
    ["glove.txt", "word2vec.txt", "fasttext.vec", "word2vec.bin", "glove.txt.gz", "w2v.bin.gz"],
)
def test_any_format_of_gensim_gives_the_same_vectors(
    tmp_path: Path, vectors: KeyedVectors, name: str
) -> None:
    path = tmp_path / name
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    header = "glove" not in name
    vectors.save_word2vec_format(str(plain), binary=".bin" in name, write_header=header)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    names = ["snow", "polar bear", "snow tree"]
    encoder = WordVectors(str(path))
    expected = [vectors["snow"], vectors["polar_bear"], (vectors["snow"] + vectors["tree"]) / 2]
    found = encoder.encode(names)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.from_numpy(np.stack(expected)), rtol=0, atol=1e-5)
    assert encoder.origins(names) == ["snow", "polar_bear", "snow + tree"]


def test_fasttext_makes_unknown_words_of_their_parts(tmp_path: Path) -> None:
    model = FastText(SENTENCES, vector_size=8, min_count=1, epochs=2, bucket=500, seed=0, workers=1)
    path = tmp_path / "facebook.bin"
    save_facebook_model(model, str(path))
    encoder = WordVectors(str(path))
    names = ["snow", "snowy", "snowy polar dog"]
    found = encoder.encode(names).numpy()
    np.testing.assert_allclose(found[0], model.wv["snow"], atol=1e-6)
    np.testing.assert_allclose(found[1], model.wv["snowy"], atol=1e-6)
    mean = np.mean([model.wv[word] for word in ("snowy", "polar", "dog")], axis=0)
    np.testing.assert_allclose(found[2], mean, atol=1e-6)
    assert encoder.origins(names) == [
        "snow",
        "snowy (from its parts)",
        "snowy (from its parts) + polar + dog",
    ]


@pytest.mark.parametrize(
    ("name", "origin"),
    [
        ("polar bear", "polar_bear"),
        ("Polar Bear", "polar_bear"),
        ("polar-bear", "polar_bear"),
        ("polar bears", "polar_bear"),
        ("ice cream", "ice-cream"),
        ("dogs", "dog"),
        ("Dog", "dog"),
        ("DOG'S", "dog"),
        ("the dog's tree", "dog + tree"),
        ("paris", "Paris"),
        ("PARIS", "Paris"),
        ("whales", "whale"),
        ("cities", "city"),
        ("snow/tree", "snow + tree"),
        ("a tree in snow", None),
        ("a", None),
    ],
)
def test_the_rules_for_phrases_case_and_number(glove: Path, name: str, origin: str | None) -> None:
    encoder = WordVectors(str(glove))
    if origin is None:
        with pytest.raises(InputError, match="has no vector for"):
            encoder.encode([name])
    else:
        assert encoder.origins([name]) == [origin]


def test_a_plural_of_its_own_comes_before_the_singular(tmp_path: Path) -> None:
    path = tmp_path / "glove.txt"
    path.write_text("boat 1 2\nboats 3 4\nBoats 5 6\n")
    assert WordVectors(str(path)).encode(["boats", "boat", "Boats"]).tolist() == [
        [3, 4],
        [1, 2],
        [5, 6],
    ]


def test_a_plural_does_where_there_is_no_singular(tmp_path: Path) -> None:
    path = tmp_path / "glove.txt"
    path.write_text("skies 1 2\nwhales 3 4\n")
    assert WordVectors(str(path)).origins(["sky", "whale"]) == ["skies", "whales"]


def test_missing_names_get_an_alias_or_the_mean_only_when_asked(
    glove: Path, vectors: KeyedVectors, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"for 'trea' of the label 'trea'; rename.*'tree'"):
        WordVectors(str(glove)).encode(["dog", "trea"])
    with pytest.raises(InputError, match=r"'house' of the label 'dog house'.* with 1 more: 'car'"):
        WordVectors(str(glove)).encode(["dog house", "dog", "car"])
    encoder = WordVectors(str(glove), missing="mean")
    mean = torch.from_numpy(vectors.vectors.mean(axis=0))
    torch.testing.assert_close(encoder.encode(["trea"])[0], mean, rtol=0, atol=1e-5)
    assert encoder.origins(["trea"]) == [f"the mean of all {len(WORDS)} vectors"]
    aliases = tmp_path / "aliases.csv"
    aliases.write_text("name,alias\ntrea,tree\nhusky,polar dog\n")
    encoder = WordVectors(str(glove), aliases=str(aliases))
    assert encoder.origins(["trea", "husky", "dog"]) == [
        "tree (alias)",
        "polar + dog (alias)",
        "dog",
    ]
    expected = torch.from_numpy((vectors["polar"] + vectors["dog"]) / 2)
    torch.testing.assert_close(encoder.encode(["husky"])[0], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("husky,dog\nhusky,bear", r"aliases\.csv, line 3: 'husky' is there twice"),
        ("husky,", r"aliases\.csv, line 2: a name or its alias is empty"),
    ],
)
def test_wrong_aliases_are_named(glove: Path, tmp_path: Path, rows: str, message: str) -> None:
    (tmp_path / "aliases.csv").write_text(f"name,alias\n{rows}\n")
    with pytest.raises(InputError, match=message):
        WordVectors(str(glove), aliases=str(tmp_path / "aliases.csv")).encode(["husky"])


def test_the_file_is_opened_once(
    glove: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = WordVectors(str(glove)).encode(WORDS)
    with monkeypatch.context() as patch:
        patch.setattr(word_vectors, "find_words", lambda *_: pytest.fail("opened again"))
        assert torch.equal(WordVectors(str(glove)).encode(WORDS), first)
    # Other content in its place is another source.
    glove.write_text(glove.read_text().replace("dog ", "dog 1"))
    assert not torch.equal(WordVectors(str(glove)).encode(WORDS), first)


def test_new_labels_are_refused_from_a_file_that_has_changed(glove: Path) -> None:
    encoder = WordVectors(str(glove), scale="unit_variance")
    first = encoder.encode(["dog"])
    assert first.square().mean() == pytest.approx(1, abs=1e-6)
    again = encoder_from_recipe(encoder.recipe)
    assert again.recipe == encoder.recipe
    assert torch.equal(again.encode(["dog", "snow"]), encoder.encode(["dog", "snow"]))
    glove.write_text(glove.read_text().replace("dog ", "dog 1"))
    with pytest.raises(InputError, match=r"WordVectors '.*glove\.txt' has changed since the first"):
        encoder_from_recipe(encoder.recipe).encode(["tree"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("dog 1 2 3\ntree 4 5\nsnow 6 7 8\n", r"glove\.txt, line 2 has 2 numbers; expected 3"),
        ("2 3\ndog 1 2 3\ntree 4 5\n", "line 3 has 2 numbers; expected 3"),
        ("dog 1 2 3\nsnow 4 x 6\n", "line 2 has something else than numbers: .*x"),
        ("3 3\ndog 1 2 3\nsnow 4 5 6\n", "ends after 2 words, but its first line says 3"),
        (
            "dog 1 2 3\nsnow 0 0 0\n",
            "nothing but zeros, or numbers that are not finite, for the label 'snow'",
        ),
        ("dog 1 2 3\nsnow nan 0 0\n", "nothing but zeros, or numbers that are not finite"),
        ("", "can't be read"),
    ],
)
def test_damaged_text_is_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "glove.txt"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        WordVectors(str(path)).encode(["snow"])


def test_words_with_spaces_in_them_are_read(tmp_path: Path) -> None:
    path = tmp_path / "glove.txt"
    path.write_text("dog 1 2 3\n. . . 4 5 6\nat name@domain.com 7 8 9\nsnow 1 1 1\n")
    assert WordVectors(str(path)).encode([". . .", "snow"]).tolist() == [[4, 5, 6], [1, 1, 1]]


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("3 2\ndog 1 2\nphone 4 5 6\n7 8 9\n", ["dog", "phone 4", "7"]),
        ("phone 4 5 6\ndog 1 2\ncat 3 4\n", ["phone 4", "dog"]),
        (". . . 5 6\ndog 1 2\ncat 3 4\n", [". . .", "dog"]),
        ("1 2\ndog 1 2\ncat 5 6\n", ["dog", "cat"]),  # More words than the header says.
        (b"1 2\n\xe4\xbd 1 2\ncat 5 6\n", ["\N{REPLACEMENT CHARACTER}", "cat"]),
    ],
)
def test_the_last_numbers_of_a_line_are_the_vector(
    tmp_path: Path, content: str | bytes, names: list[str]
) -> None:
    path = tmp_path / "glove.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = find_words(str(path), set(names))[0].vectors
    assert set(found) == set(names)
    assert {vector.shape for vector in found.values()} == {(2,)}


def test_a_token_that_is_not_utf8_leaves_a_binary_readable(
    tmp_path: Path, vectors: KeyedVectors
) -> None:
    path = tmp_path / "w2v.bin"
    vectors.save_word2vec_format(str(path), binary=True)
    path.write_bytes(path.read_bytes().replace(b"snow ", b"sn\xe4\xbd "))
    encoder = WordVectors(str(path))
    assert np.allclose(encoder.encode(["dog"])[0], vectors["dog"])


def test_truncated_binaries_are_one_sentence(tmp_path: Path, vectors: KeyedVectors) -> None:
    path = tmp_path / "w2v.bin"
    vectors.save_word2vec_format(str(path), binary=True)
    for size in (path.stat().st_size * 2 // 3, 30):
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(
            InputError, match=r"w2v\.bin can't be read \(.*expected a name of gensim"
        ):
            WordVectors(str(path)).encode(["dog"])


class _RunsCode:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, ("raise SystemExit('ran')",)


@pytest.mark.parametrize("name", ["evil.kv", "evil.model", "evil.bin", "evil"])
@pytest.mark.parametrize("protocol", [0, 4])
def test_a_pickle_is_not_read(tmp_path: Path, name: str, protocol: int) -> None:
    path = tmp_path / name
    path.write_bytes(pickle.dumps(_RunsCode(), protocol=protocol))
    message = (
        "is a pickle.*convert it with"
        if protocol or name in ("evil.kv", "evil.model")
        else "can't be read"
    )
    with pytest.raises(InputError, match=message):
        WordVectors(str(path)).encode(["dog"])


def test_a_zip_is_named_with_what_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "glove.6B.zip"
    with ZipFile(path, "w") as file:
        file.writestr("glove.6B.50d.txt", "dog 1 2\n")
    with pytest.raises(InputError, match=r"is a zip of 'glove\.6B\.50d\.txt'; unpack it"):
        WordVectors(str(path)).encode(["dog"])


def test_the_docs_say_how_to_convert_a_pickle_of_gensim(
    tmp_path: Path, vectors: KeyedVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    vectors.save("vectors.kv")
    with pytest.raises(InputError, match=r"docs/labels\.md"):
        WordVectors("vectors.kv").encode(["dog"])
    docs = (Path(__file__).parents[3] / "docs" / "labels.md").read_text()
    exec(docs.split("```python\n")[1].split("```")[0], {})
    expected = torch.from_numpy(vectors["dog"].copy())
    assert torch.equal(WordVectors("vectors.bin").encode(["dog"])[0], expected)


def test_sources_that_are_nowhere_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"none\.txt do not exist; expected a name of gensim's"):
        WordVectors(str(tmp_path / "none.txt")).encode(["dog"])
    import gensim.downloader

    def load(name: str, return_path: bool) -> None:
        raise ValueError(f"Incorrect model/corpus name {name}")

    monkeypatch.setattr(gensim.downloader, "load", load)
    with pytest.raises(
        InputError, match=r"'glowe' are not a file and could not be fetched \(Incorrect"
    ):
        WordVectors("glowe").encode(["dog"])


def test_a_name_of_the_downloader_is_fetched(
    glove: Path, vectors: KeyedVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gensim.downloader

    monkeypatch.setattr(gensim.downloader, "load", lambda name, return_path: str(glove))
    found = WordVectors("glove-wiki-gigaword-300").encode(["dog"])[0]
    torch.testing.assert_close(found, torch.from_numpy(vectors["dog"].copy()), rtol=0, atol=1e-5)


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
    encoder = WordVectors(str(tmp_path / "glove.txt"), scale="unit_norm")
    found = encoder.encode([*names])
    assert encoder.origins([*names]) == [*names]
    neighbours = (found @ found.T).argsort(dim=1, descending=True)
    position = {name: row for row, name in enumerate(names)}
    for name, near in (("tiger", "lion"), ("snow", "rain"), ("wedding", "bride")):
        assert near in [[*names][row] for row in neighbours[position[name], 1:7]]


@pytest.mark.parametrize(
    "content",
    [
        "dog\t1\t2\ntree\t3\t4\n",
        "dog\t1 2\ntree\t3 4\n",
        "dog  1 2\ntree 3  4\n",
        "\ufeffdog 1 2\ntree 3 4\n\n",
        "\ufeff2 2\ndog 1 2 \ntree 3 4 \n",
        "dog 1 2\r\ntree 3 4\r\n",
    ],
)
def test_other_separators_and_marks_do_no_harm(tmp_path: Path, content: str) -> None:
    path = tmp_path / "glove.txt"
    path.write_bytes(content.encode())
    assert WordVectors(str(path)).encode(["dog", "tree"]).tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("name", ["a.txt.gz", "a.bin"])
def test_damaged_files_are_one_sentence(tmp_path: Path, vectors: KeyedVectors, name: str) -> None:
    path = tmp_path / name
    vectors.save_word2vec_format(str(path.with_suffix("")), binary=name == "a.bin")
    content = path.with_suffix("").read_bytes()
    path.write_bytes(gzip.compress(content) if name == "a.txt.gz" else content)
    whole = bytearray(path.read_bytes())
    messages = []
    for position in range(4, len(whole), max(1, len(whole) // 40)):
        damaged = whole.copy()
        damaged[position] ^= 0x55
        for candidate in (damaged, whole[:position]):
            path.write_bytes(candidate)
            try:
                WordVectors(str(path)).encode(["dog"])
            except InputError as error:
                messages.append(str(error))
    assert messages
    assert all(len(message.splitlines()) == 1 for message in messages)


def test_a_label_of_signs_alone_has_no_vector(glove: Path) -> None:
    with pytest.raises(InputError, match="no vector for '_'"):
        WordVectors(str(glove)).encode(["_"])
