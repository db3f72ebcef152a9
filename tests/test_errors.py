import pytest

from zsl.errors import InputError, reason_of, refuse_repeated


def test_the_reason_is_one_line() -> None:
    error = ValueError("\nfirst\n\tsecond ")
    assert (reason_of(error), reason_of(error, line=-1)) == ("first", "second")
    assert reason_of(KeyError()) == "KeyError"


def test_the_first_repeated_value_is_named_with_both_places() -> None:
    refuse_repeated(["a", "b"], str)
    with pytest.raises(
        InputError, match=r"^line 2: 'b' is there twice, first at line 1; drop one\.$"
    ):
        refuse_repeated(["a", "b", "b", "a"], lambda index: f"line {index}", "drop one")
