"""Examples in docstrings of the commands."""

import doctest
from types import ModuleType

import pytest

from zsl.commands import configs, evaluate, messages


@pytest.mark.parametrize(("module", "number"), [(messages, 9), (configs, 2), (evaluate, 1)])
def test_the_examples_hold(module: ModuleType, number: int) -> None:
    results = doctest.testmod(module)
    assert results.attempted >= number
    assert results.failed == 0
