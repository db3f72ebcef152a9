from pathlib import Path

import pytest

from zsl.errors import InputError
from zsl.labels import Role, Vocabulary


def test_names_are_selected_by_role_in_order() -> None:
    vocabulary = Vocabulary(["a", "b", "c", "d"], ["unseen", "seen", "held_out", "seen"])
    assert vocabulary.names == ["b", "d", "c", "a"]
    assert vocabulary.roles == ["seen", "seen", "held_out", "unseen"]
    assert vocabulary.select(Role.SEEN) == ["b", "d"]
    assert vocabulary.select(Role.SEEN, Role.UNSEEN) == ["b", "d", "a"]
    assert vocabulary.names[vocabulary.columns(Role.SEEN)] == ["b", "d"]
    assert vocabulary.names[vocabulary.columns(Role.SEEN, Role.HELD_OUT)] == ["b", "d", "c"]
    assert vocabulary.names[vocabulary.columns(Role.UNSEEN)] == ["a"]
    assert vocabulary.indices(["d", "a"]) == [1, 3]
    assert len(vocabulary) == 4
    assert repr(vocabulary) == "Vocabulary(4 labels: 2 seen, 1 held_out, 1 unseen)"


def test_columns_of_a_role_without_labels_are_none() -> None:
    vocabulary = Vocabulary(["a", "b"], ["unseen", "seen"])
    assert vocabulary.names[vocabulary.columns(Role.HELD_OUT)] == []
    assert vocabulary.names[vocabulary.columns(Role.SEEN, Role.HELD_OUT)] == ["b"]


def test_names_that_go_with_vectors_must_be_in_order() -> None:
    assert Vocabulary.ordered(["a", "b"], ["seen", "unseen"]).names == ["a", "b"]
    with pytest.raises(InputError, match="label names are not ordered by role"):
        Vocabulary.ordered(["a", "b"], ["unseen", "seen"])


def test_unknown_name_suggests_near_ones() -> None:
    vocabulary = Vocabulary(["purple star", "red heart"], ["seen", "unseen"])
    with pytest.raises(InputError, match=r"'purpel star' is not in .* mean 'purple star'\?"):
        vocabulary.indices(["purpel star"])


@pytest.mark.parametrize(
    ("names", "roles", "message"),
    [
        (["a", " "], ["seen", "seen"], "label 2: the label name is empty"),
        (["a", "b", "a"], ["seen"] * 3, "label 3: 'a' is there twice, first at label 1"),
        (["a"], ["sene"], "role 'sene'; expected one of seen, held_out, unseen.*mean 'seen'"),
        (["a"], ["seen", "seen"], "1 label names but 2 roles"),
    ],
)
def test_wrong_names_and_roles_are_refused(
    names: list[str], roles: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Vocabulary(names, roles)


def test_class_file_is_read_and_errors_name_the_line(tmp_path: Path) -> None:
    path = tmp_path / "classes.csv"
    path.write_bytes(b"name,role\r\ndog , seen\r\nNA,unseen\r\n")
    vocabulary = Vocabulary.from_table(path)
    assert vocabulary == Vocabulary(["NA", "dog"], ["unseen", "seen"])
    assert "NA" in vocabulary
    assert "cat" not in vocabulary

    path.write_text("name,role\ndog,seen\n\ncat,seen\n")
    with pytest.raises(InputError, match="line 3: the label name is empty"):
        Vocabulary.from_table(path)
    path.write_text("name,role\ndog,seen\ndog,unseen\n")
    with pytest.raises(InputError, match=r"line 3: 'dog' is there twice, first at .*line 2"):
        Vocabulary.from_table(path)
    path.write_text("label,role\ndog,seen\n")
    with pytest.raises(InputError, match="no column 'name'"):
        Vocabulary.from_table(path)
    path.write_text("name,role\n")
    with pytest.raises(InputError, match="no rows"):
        Vocabulary.from_table(path)
    path.write_text("")
    with pytest.raises(InputError, match="found: nothing"):
        Vocabulary.from_table(path)
    with pytest.raises(InputError, match="does not exist"):
        Vocabulary.from_table(tmp_path / "none.csv")


def test_hold_out_draws_candidates_whatever_their_order() -> None:
    names = [f"label {number}" for number in range(40)]
    vocabulary = Vocabulary(names, ["seen"] * 30 + ["unseen"] * 10)
    drawn = vocabulary.hold_out(names[:20], 0.1, seed=3)
    assert len(drawn.select(Role.HELD_OUT)) == 3
    assert set(drawn.select(Role.HELD_OUT)) <= set(names[:20])
    assert drawn.select(Role.UNSEEN) == names[30:]
    assert vocabulary.hold_out(names[19::-1], 0.1, seed=3) == drawn
    assert vocabulary.hold_out(names[:20], 0.1, seed=4) != drawn
    assert vocabulary.hold_out(names[:1], 0.5, seed=0).select(Role.HELD_OUT) == names[:1]
    assert len(vocabulary.hold_out(names[:20], 0.001, seed=0).select(Role.HELD_OUT)) == 1


def test_hold_out_leaves_a_label_to_train() -> None:
    assert Vocabulary(["a", "b"], ["seen"] * 2).hold_out("ab", 1.0, 0).select(Role.SEEN)
    with pytest.raises(InputError, match="Of 1 seen labels 1 can be held out"):
        Vocabulary(["a", "b"], ["seen", "unseen"]).hold_out(["a"], 0.1, seed=0)
    with pytest.raises(InputError, match="Of 2 seen labels 0 can be held out"):
        Vocabulary(["a", "b"], ["seen"] * 2).hold_out([], 0.1, seed=0)
