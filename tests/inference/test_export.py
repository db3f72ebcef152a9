"""`python -m zsl.export`: the file scores as the checkpoint does, whatever is asked."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import zsl
from tests.fakes import towers
from tests.fakes.checkpoints import COLOUR_TEXTS, NORMALISED, write_checkpoint
from tests.fakes.parts import tiny_backbone, tiny_head
from tests.fakes.table import COLOURS
from zsl.commands.export import main as export
from zsl.inference.export_formats import Difference, Format, _compare, export_tagger
from zsl.labels import SentenceEncoder
from zsl.models import (
    BilinearConfig,
    CLIPConfig,
    ClosedFormConfig,
    ConSEConfig,
    Fast0TagConfig,
    HeadConfig,
    OpenCLIPBackboneConfig,
    TaggerNetwork,
)

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

VECTORS = torch.randn(6, 12, generator=torch.Generator().manual_seed(0))


def make_tagger(
    backbone: str, frozen: bool = False, head: HeadConfig | None = None, vectors: Tensor = VECTORS
) -> TaggerNetwork:
    torch.manual_seed(0)
    is_pooled = isinstance(head, CLIPConfig)
    features = tiny_backbone(name=backbone, stride=None, frozen=frozen, pooled=is_pooled)
    return TaggerNetwork.make(features, head or tiny_head(), 32, vectors, len(vectors)).eval()


@torch.no_grad()
def score(tagger: nn.Module, images: Tensor, queries: Tensor) -> np.ndarray:
    return tagger(images, queries).numpy()


def run(path: Path, **inputs: Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(path)
    (logits,) = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
    return logits


def random_images(number: int) -> Tensor:
    return torch.randint(0, 256, (number, 3, 32, 32), dtype=torch.uint8)


def check_open(path: Path, tagger: TaggerNetwork) -> None:
    """Any numbers of images and labels score as in PyTorch."""
    for number, labels in ((1, 1), (1, 40), (2, 2), (7, 6)):
        images, queries = random_images(number), torch.randn(labels, 12)
        logits = run(path, images=images, queries=queries)
        assert logits.shape == (number, labels)
        np.testing.assert_allclose(logits, score(tagger, images, queries), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "num_groups", [None, pytest.param(3, marks=pytest.mark.slow)], ids="groups={}".format
)
def test_label_vectors_are_an_input(tmp_path: Path, num_groups: int | None) -> None:
    """And a new label changes only its own column."""
    tagger, path = (
        make_tagger("test_resnet", head=tiny_head(num_groups=num_groups)),
        tmp_path / "model.onnx",
    )
    assert export_tagger(tagger, VECTORS, False, 32, path, "onnx").is_small
    check_open(path, tagger)
    images, changed = random_images(2), VECTORS.clone()
    changed[2] = torch.randn(12)
    before, after = (run(path, images=images, queries=q) for q in (VECTORS, changed))
    others = [0, 1, 3, 4, 5]
    np.testing.assert_allclose(after[:, others], before[:, others], atol=1e-6)
    assert (np.abs(after[:, 2] - before[:, 2]) > 1e-3).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "frozen", "head"),
    [
        ("test_vit", True, tiny_head(num_groups=3, seen_span=True)),
        ("test_resnet", False, tiny_head(pool_tokens=True)),
        ("test_resnet", False, BilinearConfig()),
        ("test_resnet", False, Fast0TagConfig(16)),
        ("test_vit", False, ConSEConfig(2)),
        ("test_resnet", True, ClosedFormConfig(2, own_classes=False)),
    ],
    ids=str,
)
def test_every_head_is_exported(
    tmp_path: Path, backbone: str, frozen: bool, head: HeadConfig
) -> None:
    tagger, path = make_tagger(backbone, frozen, head), tmp_path / "model.onnx"
    assert export_tagger(tagger, VECTORS, False, 32, path, "onnx").is_small
    check_open(path, tagger)


@pytest.mark.slow
def test_clip_is_exported_too(tmp_path: Path) -> None:
    vectors = torch.randn(6, 1000)
    tagger = make_tagger("test_vit", True, CLIPConfig(), vectors)
    assert export_tagger(tagger, vectors, False, 32, tmp_path / "model.onnx", "onnx").is_small


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny-clip", "tiny-siglip", "tiny-mobile-s"])
def test_towers_are_exported_with_their_parts(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = OpenCLIPBackboneConfig(name, None)
    vectors = torch.randn(6, 96 if name == "tiny-siglip" else towers.WIDTH)
    tagger = TaggerNetwork.make(backbone, CLIPConfig(0.5), 32, vectors, 6).eval()
    path = tmp_path / "model.onnx"
    assert export_tagger(tagger, vectors, True, 32, path, "onnx").is_small
    for number in (1, 5):
        images = random_images(number)
        logits = run(path, images=images)
        np.testing.assert_allclose(logits, score(tagger, images, vectors), atol=1e-3)


@pytest.mark.parametrize(
    ("num_groups", "num_labels"),
    [
        (3, 6),
        pytest.param(None, 6, marks=pytest.mark.slow),
        pytest.param(3, 1, marks=pytest.mark.slow),
    ],
)
def test_labels_built_in_leave_images_as_the_only_input(
    tmp_path: Path, num_groups: int | None, num_labels: int
) -> None:
    tagger = make_tagger("test_resnet", True, tiny_head(num_groups=num_groups))
    path, vectors = tmp_path / "model.onnx", VECTORS[:num_labels]
    assert export_tagger(tagger, vectors, True, 32, path, "onnx").is_small
    for number in (1, 5):
        images = random_images(number)
        logits = run(path, images=images)
        np.testing.assert_allclose(logits, score(tagger, images, vectors), atol=1e-4)


@pytest.mark.parametrize("baked", [False, True])
def test_a_program_of_torch_export_scores_the_same(tmp_path: Path, baked: bool) -> None:
    tagger, path = make_tagger("test_vit", True, tiny_head(num_groups=3)), tmp_path / "model.pt2"
    assert export_tagger(tagger, VECTORS, baked, 32, path, "torch_export").is_small
    module = torch.export.load(path).module()
    images, queries = random_images(1), VECTORS if baked else torch.randn(1, 12)
    logits = module(*((images,) if baked else (images, queries))).detach().numpy()
    np.testing.assert_allclose(logits, score(tagger, images, queries), atol=1e-4)


@pytest.mark.slow
def test_weights_above_the_limit_of_one_file_go_to_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zsl.inference.export_formats._ONE_FILE", 1000)
    tagger = make_tagger("test_resnet", head=BilinearConfig())
    assert export_tagger(tagger, VECTORS, False, 32, tmp_path / "model.onnx", "onnx").is_small
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "model.onnx.data"}


@pytest.mark.parametrize("kind", ["onnx", "torch_export"])
def test_normalised_scores_are_exported_without_the_sample(tmp_path: Path, kind: Format) -> None:
    path = write_checkpoint(tmp_path / "run", 32, **NORMALISED)
    tagger = zsl.Tagger.from_pretrained(path).network
    assert tagger.scores is not None
    tagger.scores.sample = tagger.scores.sample.repeat(1000, 1, 1)
    queries = torch.randn(3, 12)
    assert export_tagger(tagger, queries, True, 32, tmp_path / "file", kind).is_small
    size = sum(tensor.nbytes for tensor in tagger.state_dict().values())
    assert (tmp_path / "file").stat().st_size < size - tagger.scores.sample.nbytes + 1_000_000
    assert tagger.scores.sample.nbytes > 2_000_000


def test_normalised_scores_need_labels_that_are_built_in(
    in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_checkpoint(in_tmp_path / "run", 32, **NORMALISED)
    capsys.readouterr()
    assert export(["--checkpoint", str(path), "--output=out"]) == 2
    error = capsys.readouterr().err
    assert "build labels in with --labels checkpoint" in error
    assert len(error.splitlines()) == 1
    assert not Path("out").exists()


def test_what_counts_as_the_same() -> None:
    assert Difference(9e-5, 0.1).is_small
    assert not Difference(2e-4, 0.1).is_small
    assert Difference(2e-4, 3.0).is_small
    one = torch.tensor([1.0, 2.0])
    assert _compare([one], [one + 0.5]) == (0.5, 2.0)
    assert not _compare([one], [one * torch.nan]).is_small


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_checkpoint(tmp_path_factory.mktemp("run"), image_size=32))


@pytest.fixture(scope="module")
def exported(checkpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an export to ONNX by the command."""
    folder = tmp_path_factory.mktemp("work") / "best_export"
    with redirect_stdout(StringIO()) as printed:
        assert export(["--checkpoint", checkpoint, f"--output={folder}"]) == 0
    assert "differ from PyTorch's by at most" in printed.getvalue()
    return folder


def test_the_example_of_the_docs_needs_neither_torch_nor_zsl(
    checkpoint: str, exported: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    image.save(exported.parent / "photo.jpg", quality=100, subsampling=0)
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    example = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    assert len(example.splitlines()) <= 20
    blocked = "import sys; sys.modules.update(torch=None, zsl=None)\n"
    command = [sys.executable, "-c", blocked + example]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=exported.parent)
    tagger = zsl.Tagger.from_pretrained(checkpoint)
    with Image.open(exported.parent / "photo.jpg") as saved:
        squashed = np.asarray(saved.resize((32, 32), Image.Resampling.BILINEAR))
    images = torch.from_numpy(squashed.copy()).permute(2, 0, 1)[None]
    names, queries = tagger.embed(None)
    (logits,) = tagger.score(tagger.tokens(images), queries)[0].numpy()
    best = [names[i] for i in logits.argsort()[::-1][:5]]
    assert [line.split()[1] for line in done.stdout.splitlines()] == best


def test_the_folder_says_what_one_must_know(exported: Path) -> None:
    record = json.loads((exported / "model.json").read_text())
    assert record["names"] is None
    assert [found["shape"] for found in record["inputs"]] == [["batch", 3, 32, 32], ["labels", 12]]
    assert record["preprocessing"]["size"] == [32, 32]
    assert record["preprocessing"]["interpolation"] == "bilinear, antialiased"
    assert record["preprocessing"]["center_crop"] is None
    assert record["probabilities"] == "sigmoid"
    assert "LabelMatrix" in str(record["encoder"])
    assert {"torch", "onnx", "timm"} <= record["versions"].keys()
    with np.load(exported / "labels.npz") as labels:
        assert sorted(labels["names"].tolist()) == sorted(COLOURS)
        assert labels["vectors"].shape == (8, 12)
        assert set(labels["roles"]) == {"seen", "held_out", "unseen"}


def export_with(difference: Difference, patch: pytest.MonkeyPatch) -> None:
    """Replaces the slow part: an empty file, and how far it would be from PyTorch."""

    def write_file(*arguments: Any) -> Difference:
        arguments[4].touch()
        return difference

    patch.setattr("zsl.inference.export_folder.export_tagger", write_file)


def test_an_export_replaces_an_earlier_one(
    checkpoint: str, exported: Path, in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_with(Difference(0.0, 1.0), monkeypatch)
    shutil.copytree(exported, "out")
    arguments = ["--checkpoint", checkpoint, "--output=out", "--format=torch_export"]
    assert export([*arguments, "--labels=red, pink"]) == 0
    assert {path.name for path in Path("out").iterdir()} == {"model.pt2", "model.json"}
    record = json.loads(Path("out/model.json").read_text())
    assert record["names"] == ["red", "pink"]
    assert record["outputs"][0]["shape"] == ["batch", 2]
    assert export([*arguments, "--labels=checkpoint"]) == 0
    assert sorted(json.loads(Path("out/model.json").read_text())["names"]) == sorted(COLOURS)


def test_a_model_that_scores_otherwise_is_not_written(
    checkpoint: str,
    in_tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    export_with(Difference(1.0, 2.0), monkeypatch)
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
        (lambda c: ["--checkpoint", c, "--format=onx"], "'onx'; expected onnx or torch_export."),
        (lambda c: ["--checkpoint", c, "--labels=red, blue, red"], "'red' is there twice"),
        (lambda c: ["--checkpoint", c, "--labels=red,,blue"], "label 2 is empty"),
        (lambda c: ["--checkpoint", c, "--labels="], "label 1 is empty"),
        (lambda c: ["--checkpoint", c, "--labels=no.txt"], "no.txt does not exist"),
        (lambda c: ["--checkpoint", c, "--texts=coco"], "but --labels names none"),
        (lambda c: ["--checkpoint", c, "--labels=checkpoint", "--texts=coco"], "names none"),
        (fill_output, "holds 'model.onnx', which is not of an earlier export"),
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


def test_labels_are_built_in_with_their_texts(
    in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("texts.yaml").write_text(COLOUR_TEXTS)
    path = write_checkpoint(in_tmp_path / "run", encoder=SentenceEncoder(texts="texts.yaml"))
    Path("texts.yaml").unlink()
    Path("mine.yaml").write_text("grey: the colour of ash")
    built: list[Tensor] = []

    def keep(tagger: zsl.Tagger, kind: str, names: list[str], output: Path) -> Difference:
        built.append(tagger.embed(names)[1])
        return Difference(0.0, 1.0)

    monkeypatch.setattr("zsl.inference.export_folder.write_export", keep)
    common = ["--checkpoint", str(path), "--format=torch_export"]
    assert export([*common, "--labels=grey", "--texts=mine.yaml"]) == 0
    assert torch.equal(built[0], SentenceEncoder(texts="mine.yaml").encode(["grey"]))


def test_missing_packages_are_named(
    checkpoint: str,
    in_tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("zsl.inference.export_formats.find_spec", lambda name: None)
    assert export(["--checkpoint", checkpoint]) == 2
    assert "needs onnx, onnxruntime, onnxscript: pip install" in capsys.readouterr().err
