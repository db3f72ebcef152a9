"""A set of which millions of members fit into memory."""

import random

import pytest

from zsl.files import digest_set
from zsl.files.digest_set import DigestSet


@pytest.mark.parametrize("most_new", [1, 7, 100_000])
def test_it_is_a_set(most_new: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Python's own, wherever its members lie; a name may have bytes that are no characters."""
    monkeypatch.setattr(digest_set, "_MOST_NEW", most_new)
    texts = [f"{number}\udcff.jpg" for number in random.Random(0).choices(range(500), k=1000)]
    found, expected = DigestSet(), set[str]()
    for text in texts:
        assert (text in found) == (text in expected)
        assert found.add(text) == (text not in expected)
        expected.add(text)
    assert len(found) == len(expected)
    assert all(text in found for text in expected)
    assert "500\udcff.jpg" not in found


def test_digests_that_end_in_zeros_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """One in 256 does; in an array they look shorter."""
    monkeypatch.setattr(digest_set, "_MOST_NEW", 1)
    found = DigestSet()
    assert all(found.add(str(number)) for number in range(2000))
    assert not any(found.add(str(number)) for number in range(2000))
