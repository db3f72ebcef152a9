import doctest

from zsl.commands import messages


def test_the_examples_of_messages_hold() -> None:
    results = doctest.testmod(messages)
    assert results.attempted >= 9
    assert results.failed == 0
