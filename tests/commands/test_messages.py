import doctest

from zsl.commands import configs, messages


def test_the_examples_of_messages_hold() -> None:
    results = doctest.testmod(messages)
    assert results.attempted >= 9
    assert results.failed == 0


def test_the_examples_of_configs_hold() -> None:
    results = doctest.testmod(configs)
    assert results.attempted == 1
    assert results.failed == 0
