"""A checkpoint with its results and images, and the tagger that it makes."""

import json
from pathlib import Path

import pytest

import zsl
from tests.fakes.checkpoints import NORMALISED, write_checkpoint

RESULTS = {
    "protocol": {
        "name": "all_images, zero, averaged",
        "definition": "every image counts",
        "num_images_counted": {"zsl": 10, "gzsl": 10, "seen": 10},
        "num_labels": {"zsl": 2, "gzsl": 8, "seen": 4},
    },
    "metrics": {"test/zsl/mAP": 0.123, "test/gzsl/mAP": 0.456, "test/gzsl/F1@3": 0.789},
}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_checkpoint(tmp_path_factory.mktemp("run"))
    (path.parent.parent / "results.json").write_text(json.dumps(RESULTS))
    return path


@pytest.fixture(scope="session")
def tagger(checkpoint: Path) -> zsl.Tagger:
    return zsl.Tagger.from_pretrained(checkpoint)


@pytest.fixture(scope="session")
def normalised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("normalised"), **NORMALISED)


@pytest.fixture(scope="session")
def pictures(checkpoint: Path) -> list[Path]:
    return sorted((checkpoint.parents[1] / "photos" / "images").iterdir())[:5]
