"""What a checkpoint may record, and whose code it may have executed."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from zsl.errors import InputError
from zsl.files.class_paths import as_plain_values, check_all_are_trusted, describe_part


@dataclass(frozen=True)
class Inner:
    rank: int = 3


@dataclass(frozen=True)
class Part:
    value: Any = None
    derived: int = field(default=1, init=False)


@pytest.mark.parametrize(
    "value", [None, 1, 0.5, "a", True, [1, [2]], (1, 2), {"a": [1]}, Path("photos")]
)
def test_plain_values_are_recorded_and_paths_as_texts(value: Any, tmp_path: Path) -> None:
    recorded = describe_part(Part(value))["init_args"]
    assert recorded == {"value": str(value) if isinstance(value, Path) else value}
    torch.save(recorded, tmp_path / "part.ckpt")
    assert torch.load(tmp_path / "part.ckpt", weights_only=True) == recorded


@pytest.mark.parametrize("value", [torch.zeros(1), {"a": [torch.float32]}, Inner(), {1}])
def test_what_a_checkpoint_could_not_give_back_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match=r"Part\.value"):
        describe_part(Part(value))


def test_a_group_of_arguments_is_a_dictionary() -> None:
    assert as_plain_values({"inner": Inner(5)}, "Data") == {"inner": {"rank": 5}}


@pytest.mark.parametrize("path", ["evil.X", "zslevil.X", "os.system"])
def test_no_depth_hides_a_class_from_outside(path: str) -> None:
    part = {"class_path": path, "init_args": {}}
    for contents in (part, {"images": part}, {"encoders": [{"init_args": {"x": [part]}}]}):
        own = {"class_path": "zsl.data.ShapesDataModule", "init_args": contents}
        with pytest.raises(InputError, match=path):
            check_all_are_trusted(own, trust_code=False)
        check_all_are_trusted(own, trust_code=True)
