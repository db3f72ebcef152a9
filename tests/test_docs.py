import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from zsl.models import add_ml_decoder_head, to_published

DOCS = Path(__file__).parents[1] / "docs"


def test_the_examples_of_the_head_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a small backbone, and with a checkpoint where the page has a downloaded one."""
    create = timm.create_model
    asked = []

    def create_small(name: str, pretrained: bool = False) -> Any:
        asked.append(name)
        return create("test_resnet")

    monkeypatch.setattr(timm, "create_model", create_small)
    monkeypatch.chdir(tmp_path)
    head = add_ml_decoder_head(create("test_resnet"), 80).get_classifier()
    torch.save({"model": to_published(head)}, "tresnet_l_COCO__448_90_0.pth")
    page = (DOCS / "ml_decoder.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    examples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for example in examples:
        exec(example, names)
    assert len(examples) == 3
    assert asked == ["resnet50", "resnet50", "resnet50", "tresnet_l"]
    assert names["logits"].shape == (2, 1006)
    assert names["unused"] == []
    assert not any("fc." in name for name in names["untouched"])
    assert names["tensors"].keys() == to_published(head).keys()
