"""`python -m zsl.export`: the file scores as the checkpoint does, whatever is asked."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from tests.fakes.table import COLOURS, write_table_dataset
from zsl.commands.export import main as export
from zsl.commands.fit import main as fit
from zsl.inference.export_formats import Difference, export_tagger
from zsl.models import Backbone, TaggerNetwork, make_head
from zsl.tasks.zero_shot import ZeroShotTask

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

SETTINGS: dict[str, Any] = {"embed_dim": 16, "num_heads": 2, "feedforward_dim": 16, "dropout": 0.1}
SETTINGS |= {"query_relu": True, "seen_span": False, "num_groups": None, "pool_tokens": False}
SETTINGS |= {"num_combined": 2, "freeze_backbone": True, "backbone": "test_vit"}
NO_AUGMENTATION = ("query_noise", "query_rotation", "query_dropout", "random_queries")
SETTINGS |= dict.fromkeys((*NO_AUGMENTATION, "mixed_queries", "neighbour_queries"), 0)
VECTORS = torch.randn(6, 12, generator=torch.Generator().manual_seed(0))


def make_tagger(backbone: str, frozen: bool = False, **settings: Any) -> TaggerNetwork:
    torch.manual_seed(0)
    features = Backbone(backbone, None, None, 32, frozen)
    name = settings.pop("head")
    return TaggerNetwork(
        features, make_head(name, features.token_dim, VECTORS, SETTINGS | settings)
    ).eval()


@torch.no_grad()
def score(tagger: nn.Module, images: Tensor, queries: Tensor) -> np.ndarray:
    return tagger(images, queries).numpy()


def ask(path: Path, **inputs: Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(path)
    (logits,) = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
    return logits


def pictures(number: int) -> Tensor:
    return torch.randint(0, 256, (number, 3, 32, 32), dtype=torch.uint8)


@pytest.mark.parametrize(
    ("backbone", "frozen", "settings"),
    [
        ("test_resnet", False, {"head": "ml_decoder"}),
        ("test_vit", True, {"head": "ml_decoder", "num_groups": 3, "seen_span": True}),
        ("test_resnet", True, {"head": "ml_decoder", "num_groups": 3}),
        ("test_resnet", False, {"head": "bilinear"}),
        ("test_resnet", False, {"head": "fast0tag"}),
        ("test_vit", False, {"head": "conse"}),
        ("test_resnet", False, {"head": "ml_decoder", "pool_tokens": True}),
    ],
    ids=str,
)
def test_any_numbers_of_images_and_labels_score_as_in_pytorch(
    tmp_path: Path, backbone: str, frozen: bool, settings: dict[str, Any]
) -> None:
    tagger, path = make_tagger(backbone, frozen, **settings), tmp_path / "model.onnx"
    assert export_tagger(tagger, VECTORS, False, 32, path, "onnx").is_small
    for number, labels in ((1, 1), (1, 40), (2, 2), (7, 6)):
        images, queries = pictures(number), torch.randn(labels, 12)
        logits = ask(path, images=images, queries=queries)
        assert logits.shape == (number, labels)
        np.testing.assert_allclose(logits, score(tagger, images, queries), atol=1e-4, rtol=1e-4)


def test_clip_is_exported_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = Backbone("test_vit", None, None, 32, True, pooled=True)
    vectors = torch.randn(6, backbone.token_dim)
    tagger = TaggerNetwork(
        backbone, make_head("clip", backbone.token_dim, vectors, SETTINGS)
    ).eval()
    assert export_tagger(tagger, vectors, False, 32, tmp_path / "model.onnx", "onnx").is_small


@pytest.mark.parametrize("num_groups", [None, 3])
def test_a_new_label_changes_only_its_own_column(tmp_path: Path, num_groups: int | None) -> None:
    tagger = make_tagger("test_resnet", head="ml_decoder", num_groups=num_groups)
    path, images, changed = tmp_path / "model.onnx", pictures(2), VECTORS.clone()
    export_tagger(tagger, VECTORS, False, 32, path, "onnx")
    changed[2] = torch.randn(12)
    before, after = (ask(path, images=images, queries=q) for q in (VECTORS, changed))
    others = [0, 1, 3, 4, 5]
    np.testing.assert_allclose(after[:, others], before[:, others], atol=1e-6)
    assert (np.abs(after[:, 2] - before[:, 2]) > 1e-3).all()


@pytest.mark.parametrize("num_groups", [None, 3])
def test_a_baked_vocabulary_leaves_images_as_the_only_input(
    tmp_path: Path, num_groups: int | None
) -> None:
    tagger = make_tagger("test_resnet", head="ml_decoder", num_groups=num_groups)
    path = tmp_path / "model.onnx"
    assert export_tagger(tagger, VECTORS[:1], True, 32, path, "onnx").is_small
    assert export_tagger(tagger, VECTORS, True, 32, path, "onnx").is_small
    for number in (1, 5):
        images = pictures(number)
        logits = ask(path, images=images)
        np.testing.assert_allclose(logits, score(tagger, images, VECTORS), atol=1e-4)


@pytest.mark.parametrize("baked", [False, True])
def test_a_program_of_torch_export_scores_the_same(tmp_path: Path, baked: bool) -> None:
    tagger = make_tagger("test_vit", True, head="ml_decoder", num_groups=3)
    path = tmp_path / "model.pt2"
    assert export_tagger(tagger, VECTORS, baked, 32, path, "torch_export").is_small
    module = torch.export.load(path).module()
    images, queries = pictures(1), VECTORS if baked else torch.randn(1, 12)
    logits = module(*((images,) if baked else (images, queries))).detach().numpy()
    np.testing.assert_allclose(logits, score(tagger, images, queries), atol=1e-4)


def test_weights_above_the_limit_of_one_file_go_to_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zsl.inference.export_formats._ONE_FILE", 1000)
    tagger = make_tagger("test_resnet", head="bilinear")
    assert export_tagger(tagger, VECTORS, False, 32, tmp_path / "model.onnx", "onnx").is_small
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "model.onnx.data"}


def test_what_counts_as_the_same() -> None:
    assert Difference(9e-5, 0.1).is_small
    assert not Difference(2e-4, 0.1).is_small
    assert Difference(2e-4, 3.0).is_small
    assert not Difference(float("inf"), 3.0).is_small


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of a run on miniature photographs."""
    folder = tmp_path_factory.mktemp("run")
    root = write_table_dataset(folder / "photos")
    tiny = ["--config=table.yaml", f"--data.root={root}", "--data.image_size=32"]
    tiny += ["--data.num_workers=0", "--model.backbone=test_resnet", "--model.weights=null"]
    tiny += ["--model.embed_dim=16", "--model.feedforward_dim=16", "--trainer.max_epochs=1"]
    tiny += ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert fit(tiny) == 0
    return str(folder / "runs/table/version_0/checkpoints/best.ckpt")


def test_the_example_of_the_docs_needs_neither_torch_nor_zsl(
    checkpoint: str, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(["--checkpoint", checkpoint, "--output=best_export"]) == 0
    assert "differ from PyTorch's by at most" in capsys.readouterr().out
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("photo.jpg")
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    example = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    assert len(example.splitlines()) <= 20
    blocked = "import sys; sys.modules.update(torch=None, zsl=None)\n"
    command = [sys.executable, "-c", blocked + example]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    task = ZeroShotTask.from_checkpoint(checkpoint).eval()
    with Image.open("photo.jpg") as picture:
        squashed = np.asarray(picture.resize((32, 32), Image.Resampling.BILINEAR))
    images = torch.from_numpy(squashed.copy()).permute(2, 0, 1)[None]
    (logits,) = score(task.tagger, images, task.encoder.encode(task.vocabulary.names))
    best = [task.vocabulary.names[i] for i in logits.argsort()[::-1][:5]]
    assert [line.split()[1] for line in done.stdout.splitlines()] == best


def test_the_folder_says_what_one_must_know(checkpoint: str, in_tmp_path: Path) -> None:
    assert export(["--checkpoint", checkpoint, "--output=out"]) == 0
    record = json.loads(Path("out/model.json").read_text())
    assert record["names"] is None
    assert [found["shape"] for found in record["inputs"]] == [["batch", 3, 32, 32], ["labels", 384]]
    assert record["preprocessing"]["size"] == [32, 32]
    assert record["probabilities"] == "sigmoid"
    assert record["encoder"]["encoder"] == "SentenceEncoder"
    assert {"torch", "onnx", "timm"} <= record["versions"].keys()
    with np.load("out/labels.npz") as labels:
        assert labels["names"].tolist() == sorted(COLOURS)
        assert labels["vectors"].shape == (8, 384)
        assert set(labels["roles"]) == {"seen", "held_out", "unseen"}
    # Over an earlier export, of which nothing stays.
    arguments = ["--checkpoint", checkpoint, "--output=out", "--format=torch_export"]
    assert export([*arguments, "--labels=red, blue"]) == 0
    assert {path.name for path in Path("out").iterdir()} == {"model.pt2", "model.json"}
    record = json.loads(Path("out/model.json").read_text())
    assert record["names"] == ["red", "blue"]
    assert record["outputs"][0]["shape"] == ["batch", 2]
    assert export([*arguments, "--labels=checkpoint"]) == 0
    assert json.loads(Path("out/model.json").read_text())["names"] == sorted(COLOURS)


def test_a_model_that_scores_otherwise_is_not_written(
    checkpoint: str,
    in_tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "zsl.inference.export_formats._run_program",
        lambda path, trials: [torch.zeros(1)] * len(trials),
    )
    arguments = ["--checkpoint", checkpoint, "--output=out", "--format=torch_export"]
    assert export(arguments) == 2
    assert "otherwise than in PyTorch" in capsys.readouterr().err
    assert not Path("out").exists()


def truncate(checkpoint: str) -> list[str]:
    Path("half.ckpt").write_bytes(Path(checkpoint).read_bytes()[:5000])
    return ["--checkpoint=half.ckpt"]


def fill_output(checkpoint: str) -> list[str]:
    Path("mine").mkdir()
    Path("mine/model.onnx").write_text("not of an export")
    return ["--checkpoint", checkpoint, "--output=mine"]


def file_as_output(checkpoint: str) -> list[str]:
    Path("file").write_text("")
    return ["--checkpoint", checkpoint, "--output=file"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: ["--checkpoint=none.ckpt"], "none.ckpt does not exist"),
        (truncate, "half.ckpt can't be read"),
        (lambda c: ["--checkpoint", c, "--format=onx"], "no format 'onx'; choose one of onnx, to"),
        (lambda c: ["--checkpoint", c, "--labels=red, blue, red"], "'red' is there twice"),
        (lambda c: ["--checkpoint", c, "--labels=red,,blue"], "label 2 is empty"),
        (lambda c: ["--checkpoint", c, "--labels="], "label 1 is empty"),
        (lambda c: ["--checkpoint", c, "--labels=no.txt"], "The list no.txt can't be read"),
        (fill_output, "holds 'model.onnx', which is of no earlier export"),
        (file_as_output, "The output file is a file"),
    ],
)
def test_bad_input_is_one_sentence(
    checkpoint: str,
    in_tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    make: Callable[[str], list[str]],
    message: str,
) -> None:
    assert export(make(checkpoint)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_missing_packages_are_named(
    checkpoint: str,
    in_tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("zsl.inference.export_formats.find_spec", lambda name: None)
    assert export(["--checkpoint", checkpoint]) == 2
    assert "needs onnx, onnxruntime, onnxscript; install" in capsys.readouterr().err
    monkeypatch.setattr("zsl.inference.export_formats._LEAST_TORCH", "99.0")
    assert export(["--checkpoint", checkpoint]) == 2
    assert "--format onnx needs torch 99.0 or newer, this is " in capsys.readouterr().err
