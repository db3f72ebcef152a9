"""An encoder that a researcher writes."""

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from zsl.errors import InputError
from zsl.labels import Embedded, LabelEncoder

CODE = """
import torch
from zsl.labels import Embedded, LabelEncoder

class Own(LabelEncoder):
    arguments = {{}}

    def embed(self, names):
        return Embedded(torch.full((len(names), 2), {value}), list(names), "own")
"""


class Constant(LabelEncoder):
    """Makes so many vectors of zeros, whatever it is given."""

    num_vectors = 1

    @property
    def arguments(self) -> dict[str, Any]:
        return {}

    def embed(self, names: Sequence[str]) -> Embedded:
        return Embedded(torch.zeros(self.num_vectors, 2), list(names), "constant")


def test_vectors_of_changed_code_are_made_again(
    in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(in_tmp_path))
    for value in (1.0, 22.0):
        Path("own_code.py").write_text(CODE.format(value=value))
        monkeypatch.delitem(sys.modules, "own_code", raising=False)
        encoder: LabelEncoder = import_module("own_code").Own()
        assert encoder.encode(["dog"]).tolist() == [[value, value]]


@pytest.mark.parametrize(
    ("num_vectors", "message"), [(1, "nothing but zeros"), (3, "made 3 vectors")]
)
def test_vectors_that_cannot_be_used_are_refused(num_vectors: int, message: str) -> None:
    encoder = Constant()
    encoder.num_vectors = num_vectors
    with pytest.raises(InputError, match=f"^Constant .*{message}"):
        encoder.encode([f"dog {num_vectors}"])
