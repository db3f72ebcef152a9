import pytest

from zsl.errors import InputError, did_you_mean, listing, program, reason_of, refuse_repeated


@pytest.mark.parametrize(
    ("called", "expected"),
    [
        ("/usr/bin/zsl", "zsl prepare table"),
        ("zsl/fit.py", "python -m zsl.prepare table"),
        ("zsl/__main__.py", "python -m zsl.prepare table"),
    ],
)
def test_commands_are_named_as_the_user_called_one(
    called: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", [called, "fit"])
    assert program("prepare table") == expected


def test_the_reason_is_one_line() -> None:
    error = ValueError("\nfirst\n\tsecond ")
    assert (reason_of(error), reason_of(error, line=-1)) == ("first", "second")
    assert reason_of(KeyError()) == "KeyError"


def test_repeated_values_are_all_named_the_first_with_both_lines() -> None:
    refuse_repeated(["a", "b"], str)
    with pytest.raises(
        InputError,
        match=r"^line 2: 'b' is there twice, first at line 1; drop one\. .* with 1 more: 'a'\.$",
    ):
        refuse_repeated(["a", "b", "b", "a"], lambda index: f"line {index}", "drop one")


def test_no_message_is_longer_than_a_few_lines() -> None:
    message = str(InputError(f"tags.csv, line 2: {'x' * 500_000!r} is not known; take it out."))
    assert len(message) < 1510
    assert message.startswith("tags.csv, line 2: 'xxx")
    assert message.endswith("xxx' is not known; take it out.")
    assert did_you_mean("x" * 500_000, ["x" * 499_999]) == ""


def test_long_lists_are_counted() -> None:
    assert listing([]) == "nothing"
    assert listing(["a", " b"]) == "'a', ' b'"
    names = listing([str(number) for number in range(220)])
    assert names.startswith("'0', '1', ")
    assert names.endswith(", '19' and 200 more")
