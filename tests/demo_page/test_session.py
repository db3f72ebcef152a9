"""What the page answers, without a browser."""

import csv
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import zsl
from tests.fakes.checkpoints import NORMALISED, write_checkpoint
from tests.fakes.parts import tiny_backbone
from zsl.demo_page import markup
from zsl.demo_page.answers import ImageAnswers, ask, heat_map, position_in_words, see
from zsl.demo_page.session import (
    MAX_LETTERS,
    MAX_WORDS,
    Session,
    folder_images,
    split_words,
    uploaded_images,
)
from zsl.errors import InputError
from zsl.files.sidecars import read_sidecar, write_sidecar
from zsl.inference.image_batches import image_batches
from zsl.labels import Role

WORDS = "pink, red, sky blue"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("run")).parents[1]


@pytest.fixture(scope="module")
def taggers(run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, zsl.Tagger]:
    other = write_checkpoint(tmp_path_factory.mktemp("other"), **NORMALISED)
    return {
        "A": zsl.Tagger.from_pretrained(run / "checkpoints" / "best.ckpt"),
        "B": zsl.Tagger.from_pretrained(other),
    }


@pytest.fixture
def album(run: Path, tmp_path: Path) -> Path:
    """A folder of five images, one of them in a folder of its own."""
    for number, path in enumerate(sorted((run / "photos" / "images").iterdir())[:5]):
        place = tmp_path / "album" / ("in" if number == 4 else "") / f"<{number}>.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
    return tmp_path / "album"


def opened(taggers: dict[str, zsl.Tagger], album: Path, words: str = WORDS) -> Session:
    session = Session(taggers, can_write=True)
    list(session.open(folder_images("", [album]), is_folder=True))
    session.ask(words)
    return session


def decided(session: Session, decisions: Sequence[Sequence[float]], name: str = "A") -> None:
    """Puts other scores in the place of those of a random network."""
    scores = np.array(decisions, dtype=np.float64)
    answers = session.answers[name]
    session.answers[name] = replace(
        answers,
        scores=scores,
        logits=scores,
        thresholds=np.full(3, 0.5),
        are_unlike=np.zeros(5, bool),
    )


def test_words_are_what_stands_between_commas() -> None:
    assert split_words(" dog,,polar  bear\ndog , Dog,") == ["dog", "polar bear", "Dog"]
    assert split_words(" , \n") is None
    with pytest.raises(InputError, match=rf"1,001 words; ask at most {MAX_WORDS:,}"):
        split_words(",".join(map(str, range(1001))))
    with pytest.raises(InputError, match="has 201 characters; expected at most 200"):
        split_words("a" * (MAX_LETTERS + 1))


def test_a_file_that_is_named_is_a_word() -> None:
    """And is not read, as --labels of the commands would."""
    assert split_words(__file__) == [__file__]


def test_it_answers_what_the_tagger_does(taggers: dict[str, zsl.Tagger], album: Path) -> None:
    paths = folder_images("", [album])
    for tagger in taggers.values():
        batches = image_batches(paths, tagger.image_size, 2, tagger.resizing)
        seen = [see(tagger, batch.images) for batch in batches]
        answers = ask(tagger, seen, ["pink", "red", "sky blue"])
        found = [
            ([answers.labels[i] for i in answers.best_labels(n)], sorted(answers.scores[n])[::-1])
            for n in range(5)
        ]
        for (labels, scores), expected in zip(
            found, tagger.predict(paths, answers.labels), strict=True
        ):
            assert labels == expected.labels
            assert scores == pytest.approx(expected.scores, abs=1e-5)


def test_the_reasons_are_the_nearest_trained_labels(
    taggers: dict[str, zsl.Tagger], album: Path
) -> None:
    session = opened(taggers, album, "red, pink")
    answers, tagger = session.answers["A"], taggers["A"]
    seen = tagger.vocabulary.select(Role.SEEN)
    assert ("red" in seen) == (answers.reasons[0] == "trained")
    vectors = torch.nn.functional.normalize(tagger.own_queries[: len(seen)])
    query = torch.nn.functional.normalize(tagger.embed(["pink"])[1])
    cosines = (vectors @ query.T).flatten()
    nearest = int(cosines.argmax())
    assert answers.reasons[1].startswith(f"near to {seen[nearest]} {cosines[nearest]:.2f}, ")


def test_an_unlike_image_has_no_yes() -> None:
    scores = np.array([[0.9, 0.2, 0.6], [0.9, 0.9, 0.9]])
    thresholds = np.array([0.5, 0.1, 2.0])
    answers = ImageAnswers(["a", "b", "c"], scores, scores, thresholds, [], np.array([False, True]))
    assert answers.decisions.tolist() == [[True, True, False], [False] * 3]


def test_equal_images_and_labels_keep_their_order() -> None:
    scores = np.array([[0.5, 0.7, 0.5], [0.5, 0.7, 0.5]])
    answers = ImageAnswers(["a", "b", "c"], scores, scores, np.zeros(3), [], np.zeros(2, bool))
    assert answers.best_labels(0) == [1, 0, 2]
    assert answers.best_images(2) == [0, 1]


def test_a_word_sorts_the_images(taggers: dict[str, zsl.Tagger], album: Path) -> None:
    session = opened(taggers, album)
    decided(session, [[0.1, 0, 0], [0.9, 0, 0], [0.5, 1, 0], [0.2, 0, 0], [0.7, 0, 0]])
    decided(session, [[0.9, 0, 0]] * 5, "B")
    assert session.order() == [0, 1, 2, 3, 4]
    session.sorted_by = "pink"
    assert session.order() == [1, 4, 2, 3, 0]
    assert session.summary() == "Images that show 'pink': A 3 of 5, B 5 of 5."
    session.main = "B"
    assert session.order() == [0, 1, 2, 3, 4]
    session.ask("red")
    assert session.sorted_by is None
    assert session.labels == ["red"]


def test_no_words_are_the_labels_of_the_checkpoint(
    taggers: dict[str, zsl.Tagger], album: Path
) -> None:
    """Of the first one for both."""
    session = opened(taggers, album, " ")
    assert session.labels == taggers["A"].vocabulary.names
    assert session.answers["B"].labels == session.labels
    session = opened({"B": taggers["B"]}, album, "")
    assert session.labels == taggers["B"].vocabulary.names


def test_a_word_without_a_vector_leaves_the_earlier_answers(
    taggers: dict[str, zsl.Tagger], album: Path
) -> None:
    session = opened(taggers, album)
    with pytest.raises(InputError, match=r"^A: .* no vector for the label 'blurple'"):
        session.ask("blurple")
    assert session.labels == ["pink", "red", "sky blue"]


def test_an_image_that_is_gone_for_the_second_tagger(
    taggers: dict[str, zsl.Tagger], album: Path
) -> None:
    session = Session(taggers, can_write=True)
    reading = session.open(folder_images("", [album]), is_folder=True)
    assert next(reading) == "A Reading images: 5 of 5."
    (album / "<0>.png").unlink()
    with pytest.raises(InputError, match="was changed while it was read"):
        list(reading)
    assert session.paths == []


def test_broken_images_are_told_by_name(taggers: dict[str, zsl.Tagger], album: Path) -> None:
    """Not by the folder, which is a temporary one for an upload."""
    (album / "broken.jpg").write_bytes(b"no image")
    session = Session(taggers, can_write=True)
    *_, told = session.open(sorted(album.glob("*.*")), is_folder=False)
    assert told == (
        "4 images opened. 1 file skipped: The image broken.jpg can't be read (not an image); "
        "replace it, or take it out of the data."
    )
    assert session.names == ["<0>.png", "<1>.png", "<2>.png", "<3>.png"]
    session.ask(WORDS)
    with pytest.raises(InputError, match=r"^The image broken\.jpg can't be read"):
        list(session.open([album / "broken.jpg"], is_folder=False))
    assert len(session.paths) == 4
    with pytest.raises(InputError, match="There are 2,001 images; open 1 to 2,000"):
        list(session.open([album / "broken.jpg"] * 2001, is_folder=False))


def test_tags_are_decided_or_accepted_by_hand(taggers: dict[str, zsl.Tagger], album: Path) -> None:
    session = opened(taggers, album)
    decided(session, [[0.1, 0.8, 0.9], *[[0.0, 0.0, 0.6]] * 4])
    assert session.tags(0) == ["sky blue", "red"]
    assert session.accept("sky blue", False) == "Tags of <0>.png: red."
    assert session.accept("pink", True) == "Tags of <0>.png: red, pink."
    session.choose(1)
    assert session.accept("sky blue", False) == "Tags of <1>.png: none."
    with pytest.raises(InputError, match="'grey' was not asked"):
        session.accept("grey", True)
    with pytest.raises(InputError, match="no image 5"):
        session.choose(5)

    write_sidecar(album / "<2>.png", ["old"])
    write_sidecar(album / "<3>.png", ["Sky blue"])
    sidecar = album / "in" / "<4>.png.xmp"
    sidecar.write_bytes(b"damaged")
    told = session.write_sidecars()
    assert told.startswith("Tags written to 2 sidecars; nothing new for 2 images. The sidecar ")
    written = [read_sidecar(album / f"<{number}>.png") for number in range(4)]
    assert written == [["red", "pink"], [], ["old", "sky blue"], ["Sky blue"]]
    assert sidecar.read_bytes() == b"damaged"
    # Another question, other tags.
    session.ask(WORDS)
    assert session.accept("pink", True) != "Tags of <0>.png: red, pink."


def test_sidecars_of_uploads_and_of_remote_visitors_are_not_written(
    taggers: dict[str, zsl.Tagger], album: Path
) -> None:
    paths = folder_images("", [album])
    for can_write, is_folder in ((False, True), (True, False)):
        session = Session(taggers, can_write)
        list(session.open(paths, is_folder))
        session.ask(WORDS)
        assert not session.can_write
        with pytest.raises(InputError, match="beside images of a folder"):
            session.write_sidecars()
    assert not list(album.rglob("*.xmp"))


def test_the_table_of_all_answers(
    taggers: dict[str, zsl.Tagger], album: Path, tmp_path: Path
) -> None:
    session = opened(taggers, album)
    decided(session, [[0.1, 0.8, 0.9], *[[0.0, 0.0, 0.6]] * 4])
    session.write_csv(tmp_path / "answers.csv")
    rows = list(csv.DictReader((tmp_path / "answers.csv").open(newline="")))
    assert len(rows) == 5 * 2 * 3
    first = rows[0]
    assert first.pop("why")
    assert first == {
        "image": str(album / "<0>.png"),
        "checkpoint": "A",
        "rank": "1",
        "label": "sky blue",
        "score": "0.9",
        "threshold": "0.5",
        "decision": "yes",
    }
    assert [row["decision"] for row in rows[:3]] == ["yes", "yes", "no"]
    with pytest.raises(InputError, match="There are no answers yet"):
        Session(taggers, can_write=True).write_csv(tmp_path / "none.csv")


def test_only_folders_under_the_roots_are_read(album: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "1.png").write_bytes((album / "<0>.png").read_bytes())
    (album / "link").symlink_to(other, target_is_directory=True)
    (album / "loop").symlink_to("loop")
    os.symlink(album, tmp_path / "to album")
    assert len(folder_images("", [album])) == 5
    assert len(folder_images("in", [other, album])) == 1
    assert len(folder_images(str(album / "in"), [album])) == 1
    assert len(folder_images("", [tmp_path / "to album"])) == 5
    for asked in (
        "..",
        "../other",
        str(other),
        "link",
        "/",
        "~",
        "loop",
        "a\0",
        "<0>.png",
        "x" * 300,
    ):
        with pytest.raises(InputError, match=r"There is no folder .* that this page may read"):
            folder_images(asked, [album])
    with pytest.raises(InputError, match="There is no folder"):
        folder_images("", [])


def test_only_what_was_uploaded_is_taken_for_it(album: Path) -> None:
    assert uploaded_images([str(album / "in" / "a.png")], album) == [album / "in" / "a.png"]
    (album / "link").symlink_to("/etc/hostname")
    for file in ("/etc/hostname", f"{album}/../a.png", f"{album}/link", "a.png"):
        with pytest.raises(InputError, match="was not uploaded; drop it on the page"):
            uploaded_images([file], album)


def test_heat_maps_are_put_in_words(taggers: dict[str, zsl.Tagger], album: Path) -> None:
    weights = np.zeros((7, 7))
    for cell, words in {
        (0, 0): "at the upper left",
        (6, 3): "at the lower side",
        (3, 6): "at the right side",
        (3, 3): "in the middle",
    }.items():
        weights[:] = 0
        weights[cell] = 1
        assert position_in_words(weights) == words
    assert position_in_words(weights * 0) == "nowhere"
    path = album / "<0>.png"
    (tokens,) = taggers["A"].token_batches(path)
    expected = taggers["A"].heat_maps(tokens, ["pink"])[0, 0].numpy()
    assert heat_map(taggers["A"], path, "pink").position == position_in_words(expected)
    pooled = write_checkpoint(album / "run", backbone=tiny_backbone(stride=None, pooled=True))
    with pytest.raises(InputError, match="does not see a square of parts"):
        heat_map(zsl.Tagger.from_pretrained(pooled), path, "pink")


def test_names_are_escaped_and_images_described(
    taggers: dict[str, zsl.Tagger], album: Path
) -> None:
    session = opened(taggers, album)
    decided(session, [[0.1, 0.8, 0.9], *[[0.0, 0.0, 0.6]] * 4])
    session.answers["A"].labels[0] = '<b>"&'
    for html in (
        markup.cards(session, 3),
        markup.answer_table(session),
        markup.whole_image(session),
        markup.figures(session, '<b>"&', [("A", "None <b>."), ("B", "No")]),
    ):
        assert "<0>" not in html
        assert "<b>" not in html.replace('<b style="width', "")
    cards = markup.cards(session, 3)
    assert 'alt="&lt;0&gt;.png, tags: sky blue, red"' in cards
    assert cards.count("<li>") == 3
    assert "Show more (2 left)" in cards
    assert "Show more" not in markup.cards(session, 5)
    assert cards.count("aria-current") == 1


def test_the_table_says_what_a_yes_needs(taggers: dict[str, zsl.Tagger], album: Path) -> None:
    session = opened(taggers, album)
    decided(session, [[0.1, 0.8, -0.9], *[[0.0, 0.0, 0.6]] * 4])
    decided(session, [[0.7, 0.8, 0.9]] * 5, "B")
    session.answers["A"] = replace(session.answers["A"], thresholds=np.array([0.25, 2, np.nan]))
    table = markup.answer_table(session)
    assert "yes from 0.25" in table
    assert "never yes" in table
    assert "no threshold known" in table
    assert "The checkpoints differ on: pink, red, sky blue." in table
    assert table.count('type="checkbox"') == 3
    assert "unlike" not in table
    session.answers["B"] = replace(session.answers["B"], are_unlike=np.ones(5, bool))
    assert "is unlike those of the training, so no word is a yes (B)." in markup.answer_table(
        session
    )


def test_an_index_answers_as_memory_does_and_reads_an_image_once(
    taggers: dict[str, zsl.Tagger], album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (album / "broken.png").write_bytes(b"no image")
    expected = opened(taggers, album)
    paths = folder_images("", [album])
    for number in range(2):
        session = Session(taggers, can_write=True, index=tmp_path / "index")
        # Of another order than that of the index, the second time.
        told = [*session.open(paths[:: 1 - 2 * number], is_folder=True)]
        assert "5 images opened. 1 file skipped" in told[-1]
        session.ask(WORDS)
        for name, answers in session.answers.items():
            rows = [session.paths.index(path) for path in expected.paths]
            found = answers.select(rows)
            # An index has float16.
            np.testing.assert_allclose(found.scores, expected.answers[name].scores, atol=2e-3)
            assert found.are_unlike.tolist() == expected.answers[name].are_unlike.tolist()
            assert found.labels == expected.answers[name].labels
        monkeypatch.setattr("zsl.inference.scorer.Scorer.tokens", None)
    assert len([*(tmp_path / "index").iterdir()]) == 2
