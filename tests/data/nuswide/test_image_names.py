import random

import pytest

from zsl.data.nuswide.image_names import match, normalise, parse


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("actor/0002_174174086.jpg", ("actor/0002_174174086", "174174086")),
        ("Flickr/actor/0002_174174086.jpg", ("actor/0002_174174086", "174174086")),
        ("actor_0002_174174086.jpg", ("actor/0002_174174086", "174174086")),
        (
            "images/administrative_assistant_0002_258761806.jpg",
            ("administrative_assistant/0002_258761806", "258761806"),
        ),
        ("80002_2058923115_a0e2798162_m.jpg", (None, "2058923115")),
        ("images/80002_2058923115_a0e2798162.jpg", (None, "2058923115")),
        ("174174086", (None, "174174086")),
        ("0002_174174086.jpg", (None, "174174086")),
        ("holiday.jpg", (None, "holiday.jpg")),
    ],
)
def test_the_styles_are_read(name: str, expected: tuple[str | None, str]) -> None:
    assert parse(name) == expected


def test_windows_separators_are_turned() -> None:
    assert normalise(" administrative_assistant\\0002_258761806.jpg\r") == (
        "administrative_assistant/0002_258761806.jpg"
    )


def test_the_three_styles_name_the_same_images() -> None:
    official = [f"a_b/{row:04d}_{7_000_000 + row}.jpg" for row in range(50)]
    joined = [name.replace("/", "_") for name in official]
    others = [f"{80_000 + row}_{7_000_000 + row}_a0e2798162_m.jpg" for row in range(50)]
    for wanted in (official, joined, others):
        for available in (official, joined, others):
            order = random.Random(0).sample(range(50), 50)
            found = match(wanted, [f"{available[row]}" for row in order])
            assert [order[position] for position in found.position] == list(range(50))
            assert found.num_ambiguous == 0


def test_an_id_that_is_there_twice_is_no_key() -> None:
    files = ["a/0001_111111.jpg", "b/0002_111111.jpg", "c/0003_222222.jpg"]
    # By folder and number they are told apart.
    assert match(["b_0002_111111.jpg", "a_0001_111111.jpg"], files).position.tolist() == [1, 0]
    found = match(["80001_111111_a0e2798162_m.jpg", "80002_222222_a0e2798162_m.jpg"], files)
    assert found.position.tolist() == [-1, 2]
    assert found.num_ambiguous == 1
    # Two lines want the one file.
    found = match(["111111", "80002_111111_a0e2798162_m.jpg"], ["x/0001_111111.jpg"])
    assert found.position.tolist() == [-1, -1]
    assert found.num_ambiguous == 2


def test_other_folders_and_names_are_never_guessed() -> None:
    files = ["a/0001_111111.jpg", "b/one.jpg", "c/one.jpg", "d/two.jpg"]
    found = match(["0001_999999.jpg", "one.jpg", "b/one.jpg", "two.jpg", "three.jpg"], files)
    assert found.position.tolist() == [-1, -1, 1, 3, -1]
    assert found.num_ambiguous == 1


def test_nothing_is_found_twice() -> None:
    found = match(["a/0002_17000.jpg", "a_0002_17000.jpg"], ["a/0002_17000.jpg"])
    assert found.position.tolist() == [0, -1]
    assert found.num_ambiguous == 1
