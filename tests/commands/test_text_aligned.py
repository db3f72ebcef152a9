"""Image and text tower of one model by command: trained as a pair, asked, built on, saved."""

import json
from pathlib import Path

import pytest
import torch

import zsl
from tests.fakes.towers import train_pair, write_pair
from zsl.commands.fit import main as fit
from zsl.commands.fit_parser import parse_config
from zsl.commands.labels import main as labels
from zsl.commands.predict import main as predict
from zsl.commands.prepare import main as prepare
from zsl.data import ShapesDataModule, Split
from zsl.errors import InputError
from zsl.files.checkpoints import read_checkpoint
from zsl.tasks import ZeroShotTask

SHAPES = ["--config=shapes.yaml", "--config=baselines/clip.yaml", "--data.num_workers=0"]
SHAPES += ["--data.num_train=32", "--data.num_val=16", "--data.num_test=250"]
SHAPES += ["--trainer.accelerator=cpu", '--model.encoder.template=["{}"]']
DECODER = ["--model.head=zsl.models.MLDecoderConfig", "--model.head.embed_dim=16"]
DECODER += ["--model.head.feedforward_dim=16", "--trainer.max_epochs=1", "--data.batch_size=8"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a pair that knows colours and shapes."""
    return train_pair(tmp_path_factory.mktemp("pair") / "weights.pt")


def named(weights: Path, name: str = "tiny-mobile-s") -> list[str]:
    return [*SHAPES, f"--model.backbone.name={name}", f"--model.backbone.weights={weights}"]


def run_of(work: Path) -> Path:
    return work / "runs" / "shapes" / "latest"


def metrics(run: Path) -> dict[str, float]:
    return json.loads((run / "results.json").read_text())["metrics"]


def logged(run: Path, name: str) -> list[float]:
    header, *rows = (run / "metrics.csv").read_text().splitlines()
    column = header.split(",").index(name)
    return [float(row.split(",")[column]) for row in rows if row.split(",")[column]]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    data = ShapesDataModule(1, 1, 1, num_workers=0)
    path = tmp_path / "scene.png"
    data.dataset(Split.TEST, data.evaluation_transform).image(0).save(path)
    return path


def test_a_trained_pair_tells_shapes_of_unseen_colours(pair: Path, in_tmp_path: Path) -> None:
    whole = [*named(pair), "--model.head.local=0"]
    assert fit(whole) == 0
    trained = metrics(run_of(in_tmp_path))["test/zsl/mAP"]
    tagger = zsl.Tagger.from_pretrained(run_of(in_tmp_path) / "checkpoints" / "best.ckpt")
    with pytest.raises(InputError, match="The head CLIPHead does not see a square of parts"):
        tagger.check_heat_maps()
    untrained = write_pair(in_tmp_path / "untrained.pt", "tiny-mobile-s")
    assert fit([*whole, f"--model.backbone.weights={untrained}"]) == 0
    chance = metrics(run_of(in_tmp_path))["test/zsl/mAP"]
    assert trained > 2 * chance


def test_ml_decoder_is_trained_on_frozen_tokens_and_asked_new_words(
    pair: Path, in_tmp_path: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*named(pair, "tiny-mobile-s"), *DECODER, "--images_of_backbone=false"]
    arguments += ["--data.images.size=64", "--config=data/features.yaml"]
    arguments += ["--data.features=store"]
    assert prepare(["features", *arguments]) == 0
    assert fit(arguments) == 0
    run = run_of(in_tmp_path)
    checkpoint = run / "checkpoints" / "best.ckpt"
    encoder = read_checkpoint(checkpoint).contents.encoder
    assert encoder is not None
    assert encoder["init_args"]["model"] == "tiny-mobile-s"
    assert encoder["init_args"]["weights"] == str(pair.resolve())
    capsys.readouterr()
    words = ["--labels", "teal rhombus,red"]
    assert predict([f"--checkpoint={checkpoint}", str(image), *words]) == 0
    out = capsys.readouterr().out
    assert "teal rhombus" in out
    assert "red" in out
    tagger = zsl.Tagger.from_pretrained(checkpoint)
    assert tagger.attention(image, ["red"]).shape == (1, 1, 2, 2)
    (tokens,) = tagger.token_batches(image)
    assert tagger.heat_maps(tokens, ["red", "teal"]).shape == (1, 2, 2, 2)
    torch.testing.assert_close(tagger.tokens(torch.zeros(1, 3, 64, 64)).shape, (1, 5, 16))


def test_an_adapted_tower_is_held_by_what_it_was(
    pair: Path, in_tmp_path: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapted = [*named(pair), *DECODER, "--model.backbone.frozen=false"]
    adapted += ["--trainer.log_every_n_steps=1", "--model.optimization.learning_rate=0.01"]
    last = []
    for weight in (1e-9, 1e3):
        assert fit([*adapted, f"--model.backbone.distillation={weight}"]) == 0
        distances = logged(run_of(in_tmp_path), "train/distillation")
        assert distances[0] < 1e-3
        last.append(distances[-1])
    assert last[1] < last[0] / 2
    checkpoint = run_of(in_tmp_path) / "checkpoints" / "best.ckpt"
    names = read_checkpoint(checkpoint).tensors
    assert sum("trunk.conv1.0.weight" in name for name in names) == 1
    task = ZeroShotTask.restore(read_checkpoint(checkpoint))
    assert task.hparams["backbone"]["init_args"]["distillation"] == 0
    assert predict([f"--checkpoint={checkpoint}", str(image), "--labels=teal star"]) == 0


def test_the_backbone_tells_how_images_are_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain = ["--config=shapes.yaml", "--model.backbone=zsl.models.OpenCLIPBackboneConfig"]
    plain += ["--model.backbone.name=ViT-B-16-SigLIP2-384", "--model.backbone.weights=webli"]
    images = parse_config([*plain, "--images_of_backbone=true"]).data.init_args.images
    assert (images.size, images.interpolation, images.center_crop) == (384, "bicubic", None)
    other = ["--model.backbone.name=MobileCLIP2-S0", "--model.backbone.weights=dfndr2b"]
    images = parse_config([*plain, *other, "--images_of_backbone=true"]).data.init_args.images
    assert (images.size, images.interpolation, images.center_crop) == (256, "bilinear", 1.0)
    caplog.clear()
    images = parse_config([*plain, "--data.images.interpolation=bicubic"]).data.init_args.images
    assert images.size == 96
    (record,) = caplog.records
    assert "ViT-B-16-SigLIP2-384" in record.message
    assert record.message.endswith("--images_of_backbone true, or --data.images.size 384.")
    with pytest.raises(InputError, match="TimmBackboneConfig does not tell how its weights"):
        parse_config(["--config=shapes.yaml", "--images_of_backbone=true"])


def test_labels_are_shown_by_the_text_tower_of_the_backbone(
    pair: Path, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert labels(named(pair)) == 0
    out = capsys.readouterr().out
    assert "vectors of 16 numbers" in out
    assert "'model': 'tiny-mobile-s'" in out
    assert f"'weights': '{pair.resolve()}'" in out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--model.encoder.model=tiny-clip"], "text tower is tiny-clip with the weights None"),
        (["--model.backbone.name=tiny-clyp"], "no model 'tiny-clyp'"),
        (["--model.backbone.weights=opnai"], "'opnai' is not among the weights of tiny-mobile-s"),
        (["--model.backbone.distillation=1"], "backbone.frozen is true: a tower that is not"),
        (["--model.backbone.local=false"], "head.local is 0.5, but the backbone returns the image"),
        (["--model.head.local=2"], "head.local is 2.0; expected 0 to 1"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(
    changes: list[str],
    message: str,
    pair: Path,
    in_tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert fit([*named(pair), *changes]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
