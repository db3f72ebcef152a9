"""`zsl.Tagger`: from checkpoints and folders, asked and shared."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import load_file

import zsl
from tests.fakes.checkpoints import COLOUR_TEXTS, NEW_LABELS, NORMALISED, write_checkpoint
from tests.fakes.parts import OwnHead, OwnHeadConfig, tiny_backbone, tiny_head
from zsl.errors import InputError
from zsl.evaluation.scoring import make_datamodule, score_checkpoint
from zsl.files.checkpoints import read_checkpoint
from zsl.files.class_paths import describe_part
from zsl.labels import SentenceEncoder
from zsl.models import Answers, BilinearConfig, ConSEConfig, TaggerNetwork
from zsl.preprocessing import Resizing
from zsl.tasks.zero_shot import ZeroShotTask

RESULTS = {
    "protocol": {
        "name": "all_images, zero, averaged",
        "definition": "every image counts",
        "num_images_counted": {"zsl": 10, "gzsl": 10, "seen": 10},
        "num_labels": {"zsl": 2, "gzsl": 8, "seen": 4},
    },
    "metrics": {"test/zsl/mAP": 0.123, "test/gzsl/mAP": 0.456, "test/gzsl/F1@3": 0.789},
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_checkpoint(tmp_path_factory.mktemp("run"))
    (path.parent.parent / "results.json").write_text(json.dumps(RESULTS))
    return path


@pytest.fixture(scope="module")
def tagger(checkpoint: Path) -> zsl.Tagger:
    return zsl.Tagger.from_pretrained(checkpoint)


@pytest.fixture(scope="module")
def pictures(checkpoint: Path) -> list[Path]:
    return sorted((checkpoint.parents[1] / "photos" / "images").iterdir())[:5]


def pixels(pictures: list[Path], size: int = 64) -> torch.Tensor:
    """As the transform makes them, by Pillow: uint8 (B, 3, S, S)."""
    squashed = [Image.open(p).resize((size, size), Image.Resampling.BILINEAR) for p in pictures]
    arrays = [np.asarray(image) for image in squashed]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)


def test_it_says_what_the_task_says(
    checkpoint: Path, tagger: zsl.Tagger, pictures: list[Path]
) -> None:
    task = ZeroShotTask.restore(read_checkpoint(checkpoint)).eval()
    names = [*NEW_LABELS, *task.vocabulary.names[::-1]]
    with torch.no_grad():
        logits = task(pixels(pictures), task.encoder.encode(names))
    predictions = tagger.predict(pictures, names, top_k=len(names), batch_size=2)
    for row, prediction in zip(logits, predictions, strict=True):
        order = row.argsort(descending=True)
        assert prediction.scores == pytest.approx(row.sigmoid()[order].tolist(), abs=2e-3)
        found = [float(row[names.index(label)]) for label in prediction.labels]
        assert found == pytest.approx(row[order].tolist(), abs=2e-2)
    assert len({tuple(prediction.scores) for prediction in predictions}) > 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_it_predicts_in_half_precision(
    checkpoint: Path, tagger: zsl.Tagger, pictures: list[Path], dtype: torch.dtype
) -> None:
    half = zsl.Tagger.from_pretrained(checkpoint).to(dtype)
    for labels in (None, NEW_LABELS):
        expected, found = tagger.predict(pictures, labels), half.predict(pictures, labels)
        for one, other in zip(expected, found, strict=True):
            assert one.scores == pytest.approx(other.scores, abs=0.02)
    assert half.attention(pictures[0]).dtype == torch.float32
    (tokens,) = half.token_batches(pictures[0])
    assert bool(half.heat_maps(tokens, NEW_LABELS).isfinite().all())


@pytest.fixture(scope="module")
def normalised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("normalised"), **NORMALISED)


def test_labels_are_prepared_once_for_all_batches(
    normalised: Path, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tagger = zsl.Tagger.from_pretrained(normalised)
    prepare, calls = TaggerNetwork.prepare, []

    def counted(network: TaggerNetwork, queries: torch.Tensor) -> Any:
        calls.append(queries)
        return prepare(network, queries)

    monkeypatch.setattr(TaggerNetwork, "prepare", counted)
    names = ["pink", "red"]
    predicted = tagger.predict(pictures, names, batch_size=2)
    assert len(calls) == 1
    # By another way: all tensors at once, from vectors.
    with torch.no_grad():
        logits = tagger(pixels(pictures), tagger.embed(names)[1])
    for row, prediction in zip(logits.sigmoid(), predicted, strict=True):
        found = [float(row[names.index(label)]) for label in prediction.labels]
        assert found == pytest.approx(prediction.scores, abs=2e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_normalised_scores_are_probabilities_in_half_precision(
    normalised: Path, pictures: list[Path], dtype: torch.dtype
) -> None:
    """Not the same ones: images of a network with random weights hardly differ."""
    half = zsl.Tagger.from_pretrained(normalised).to(dtype)
    for labels in (None, NEW_LABELS):
        for prediction in half.predict(pictures, labels):
            assert all(0 <= score <= 1 for score in prediction.scores)


def test_top_k_and_threshold(tagger: zsl.Tagger, pictures: list[Path]) -> None:
    every = tagger.predict(pictures, top_k=1000)
    assert {len(labels) for labels, _ in every} == {8}
    assert tagger.predict(pictures) == [zsl_prefix(p, 5) for p in every]
    assert tagger.predict(pictures, top_k=2) == [zsl_prefix(p, 2) for p in every]
    limit = sorted(score for _, scores in every for score in scores)[20]
    for top_k in (None, 3):
        predictions = tagger.predict(pictures, top_k=top_k, threshold=limit)
        for (labels, scores), (all_labels, all_scores) in zip(predictions, every, strict=True):
            count = min(sum(score >= limit for score in all_scores), top_k or 8)
            assert (labels, scores) == (all_labels[:count], all_scores[:count])


def zsl_prefix(prediction: Any, count: int) -> tuple[list[str], list[float]]:
    return prediction.labels[:count], prediction.scores[:count]


def test_paths_and_pictures_are_the_same(tagger: zsl.Tagger, pictures: list[Path]) -> None:
    by_path = tagger.predict([str(path) for path in pictures])
    assert tagger.predict([Image.open(path) for path in pictures]) == by_path
    assert tagger.predict(Image.open(pictures[1])) == tagger.predict([pictures[1]])
    assert tagger.predict([]) == []
    with Image.open(pictures[0]) as picture:
        others = [*tagger.predict(pictures[0]), *tagger.predict([picture] * 8)]
    for found in others:
        # Batches of another size are summed in another order on some machines.
        assert found.labels == by_path[0].labels
        assert found.scores == pytest.approx(by_path[0].scores, rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": ["red", "red"]}, "label 2: 'red' is there twice"),
        ({"labels": ["red", " "]}, "label 2: the label name is empty"),
        ({"labels": []}, "There are no labels to score"),
        ({"labels": ["blurple"]}, "has no vector for the label 'blurple'"),
        ({"top_k": 0}, "top_k is 0; expected 1 or more"),
        ({"threshold": 1.5}, "threshold is 1.5; expected 0 to 1"),
        ({"batch_size": 0}, "batch_size is 0; expected 1 or more"),
        ({"images": "nowhere.jpg"}, "The image nowhere.jpg can't be read"),
        ({"images": [3]}, "An image is of type int; expected a path"),
        ({"images": Image.new("RGB", (0, 0))}, "The image given can't be read"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    tagger: zsl.Tagger, pictures: list[Path], arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        tagger.predict(**{"images": pictures, **arguments})


SHARED: list[dict[str, Any]] = [
    {
        "backbone": tiny_backbone(name="test_vit", stride=None),
        "head": tiny_head(num_groups=3, seen_span=True),
    },
    {"head": ConSEConfig(), "backbone": tiny_backbone(frozen=True)},
    NORMALISED,
]


@pytest.mark.parametrize("parts", SHARED)
def test_a_saved_folder_is_the_same_tagger(parts: dict[str, Any], tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "run", **parts)
    tagger = zsl.Tagger.from_pretrained(path)
    tagger.save_pretrained(tmp_path / "shared")
    files = sorted(file.name for file in (tmp_path / "shared").iterdir())
    assert files == ["README.md", "config.json", "model.safetensors"]
    assert all(file.stat().st_mode & 0o044 == 0o044 for file in (tmp_path / "shared").iterdir())
    # The same names and values as in the checkpoint.
    state = torch.load(path, weights_only=True)["state_dict"]
    shared = load_file(tmp_path / "shared" / "model.safetensors")
    assert shared.keys() == state.keys()
    assert all(torch.equal(shared[name], state[name]) for name in state)
    again = zsl.Tagger.from_pretrained(tmp_path / "shared")
    assert again.vocabulary == tagger.vocabulary
    images = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(again(images), tagger(images), rtol=0, atol=1e-6)
    pictures = list((tmp_path / "run" / "photos" / "images").iterdir())[:3]
    # New labels too, by the recipe.
    assert again.predict(pictures, NEW_LABELS) == tagger.predict(pictures, NEW_LABELS)
    again.save_pretrained(tmp_path / "shared again")
    for file in files:
        copy = tmp_path / "shared again" / file
        assert copy.read_bytes() == (tmp_path / "shared" / file).read_bytes()


def test_classes_of_strangers_are_imported_only_where_they_are_trusted(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "run", head=OwnHeadConfig(rank=3))
    with pytest.raises(InputError, match=r"names the class 'tests.fakes.parts.OwnHeadConfig', wh"):
        zsl.Tagger.from_pretrained(path)
    tagger = zsl.Tagger.from_pretrained(path, trust_code=True)
    assert isinstance(tagger.network.head, OwnHead)
    tagger.save_pretrained(tmp_path / "shared")
    config = json.loads((tmp_path / "shared" / "config.json").read_text())
    # The folder can't trust itself.
    (tmp_path / "shared" / "config.json").write_text(json.dumps(config | {"trust_code": True}))
    with pytest.raises(InputError, match="which is not part of zsl: importing it would execute"):
        zsl.Tagger.from_pretrained(tmp_path / "shared")
    again = zsl.Tagger.from_pretrained(tmp_path / "shared", trust_code=True)
    assert isinstance(again.network.head, OwnHead)


def test_the_card_is_filled_in(tagger: zsl.Tagger, tmp_path: Path) -> None:
    tagger.save_pretrained(tmp_path)
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.pipeline_tag == "zero-shot-image-classification"
    assert card.data.get("eval_results")[0].metric_value == 0.123
    for text in (
        "# Zero-shot tagger: TableDataModule (photos)",
        "- 4 seen: blue, green, red, yellow",
        "zsl.labels.LabelMatrix |",
        "| test_resnet |",
    ):
        assert text in card.text


def test_another_source_of_vectors_is_refused(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "run")
    tagger = zsl.Tagger.from_pretrained(path)
    arrays = dict(np.load(tmp_path / "run" / "vectors.npz"))
    np.savez(tmp_path / "run" / "vectors.npz", **{**arrays, "vectors": arrays["vectors"] + 1})
    tagger.embed(["red"])  # Its vector is in the checkpoint.
    with pytest.raises(InputError, match="has changed since the first labels were embedded"):
        tagger.embed(["pink"])


def change(path: Path, **changes: Any) -> None:
    checkpoint = torch.load(path, weights_only=True)
    for name, value in changes.items():
        checkpoint[name].update(value)
    torch.save(checkpoint, path)


def test_new_labels_may_be_given_texts(
    tmp_path: Path, tagger: zsl.Tagger, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the file that it was trained with is gone too, and from a folder to share."""
    file = tmp_path / "texts.yaml"
    file.write_text(COLOUR_TEXTS)
    pink = SentenceEncoder(texts=str(file)).encode(["pink"])
    encoder = SentenceEncoder(texts=str(file))
    checkpoint = write_checkpoint(tmp_path / "run", encoder=encoder)
    zsl.Tagger.from_pretrained(checkpoint).save_pretrained(tmp_path / "shared")
    file.unlink()
    for source in (checkpoint, tmp_path / "shared"):
        own = zsl.Tagger.from_pretrained(source)
        expected = torch.cat([own.own_queries[own.vocabulary.indices(["red"])], pink])
        assert own.predict(Image.new("RGB", (9, 7)))
        with pytest.raises(InputError, match=r"texts\.yaml, with which the model was trained, are"):
            own.embed(["red", "pink"])
        caplog.clear()
        own.add_texts({"pink": "pale red", "grey": ["of ash", "of rain"]})
        assert not caplog.records
        names, queries = own.embed(["red", "pink"])
        assert names == ["red", "pink"]
        torch.testing.assert_close(queries, expected, atol=1e-6, rtol=1e-5)
        own.add_texts({"red": "pale blue"})
        assert "note: the texts of 'red' are not used" in caplog.text
        torch.testing.assert_close(own.embed(["red", "pink"])[1], expected, atol=1e-6, rtol=1e-5)
        with pytest.raises(InputError, match="A text of the label 'grey' is empty"):
            own.add_texts({"pink": "pale red", "grey": [" "]})
    with pytest.raises(InputError, match="embedded by their names alone"):
        tagger.add_texts({"pink": "pale red"})


def test_what_is_no_tagger_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    load = zsl.Tagger.from_pretrained
    with pytest.raises(InputError, match=r"The checkpoint .*none.ckpt does not exist"):
        load(tmp_path / "none.ckpt")
    with pytest.raises(InputError, match="x is not here and could not be downloaded"):
        load("x" * 300)
    with pytest.raises(InputError, match=r"has no config.json; expected one that save_pretrained"):
        load(tmp_path)
    with pytest.raises(InputError, match="someone/tagger is not here and could not be downloaded"):
        load("someone/tagger")
    broken = tmp_path / "broken.ckpt"
    broken.write_bytes(checkpoint.read_bytes()[:5000])
    with pytest.raises(InputError, match="damaged, incomplete, or not a checkpoint"):
        load(broken)
    shutil.copy(checkpoint, broken)
    for changes in ({"num_experts": 8}, {"embed_dim": 32}):
        head = describe_part(tiny_head())
        head["init_args"].update(changes)
        change(broken, zsl={"version": "9.0"}, hyper_parameters={"head": head})
        with pytest.raises(InputError, match=r"was saved by zsl 9.0 and does not fit zsl"):
            load(broken)
    change(broken, zsl={"experts": 8})
    with pytest.raises(InputError, match=r"was saved by zsl 9.0 and does not fit .*'experts'"):
        load(broken)


def test_a_damaged_folder_is_refused(tagger: zsl.Tagger, tmp_path: Path) -> None:
    tagger.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    old = {**config, "model": {"backbone": "resnet50"}, "names": config["names"][::-1]}
    (tmp_path / "config.json").write_text(json.dumps({**old, "version": "0.1.0"}))
    with pytest.raises(InputError, match=r"was saved by zsl 0.1.0 and does not fit zsl"):
        zsl.Tagger.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(InputError, match=r"can't be read .*expected the .ckpt file of a training"):
        zsl.Tagger.from_pretrained(tmp_path)
    weights.unlink()
    with pytest.raises(InputError, match=r"has no model.safetensors"):
        zsl.Tagger.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": ["red"]}, "Found 1 label names but 8 roles"),
        ({"names": 8 * [3]}, "does not fit zsl"),
        ({"roles": 8 * ["known"]}, "'known'; expected one of seen, held_out, unseen"),
        ({"roles": ["unseen", *7 * ["seen"]]}, "label names are not ordered by role"),
        ({"image_size": 64.5}, "image_size is 64.5; expected a number of pixels"),
        ({"image_size": 0}, "image_size is 0; expected a number of pixels"),
        ({"encoder": None}, "is not a FixedHeadConfig"),
        ({"model": {"head": None}}, "does not fit zsl"),
        (
            {"model": {"head": {"class_path": "zsl.models.Oracle", "init_args": {}}}},
            "The class 'zsl.models.Oracle', which the checkpoint was made with, can't be imported",
        ),
        (
            {"model": {"head": {"class_path": "zsl.labels.Role", "init_args": {}}}},
            "'zsl.labels.Role', which the checkpoint names, is not a HeadConfig",
        ),
    ],
)
def test_a_config_edited_by_hand_is_refused(
    tagger: zsl.Tagger, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    folder = tmp_path / "edited"
    tagger.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    if "model" in changes:
        changes = {"model": config["model"] | changes["model"]}
    (folder / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(InputError, match=rf"edited.*{message}"):
        zsl.Tagger.from_pretrained(folder)


@pytest.mark.parametrize(
    ("parts", "side"),
    [
        ({"backbone": tiny_backbone(stride=8), "head": tiny_head(num_groups=3)}, 8),
        ({"backbone": tiny_backbone(name="test_vit", stride=None)}, 4),
    ],
)
def test_attention_is_a_map_of_each_label(parts: dict[str, Any], side: int, tmp_path: Path) -> None:
    tagger = zsl.Tagger.from_pretrained(write_checkpoint(tmp_path / "run", **parts))
    pictures = sorted((tmp_path / "run" / "photos" / "images").iterdir())[:3]
    labels = ["pink", "red"]
    maps = tagger.attention(pictures, labels, batch_size=2)
    assert maps.shape == (3, 2, side, side)
    torch.testing.assert_close(maps.sum(dim=(2, 3)), torch.ones(3, 2))
    tokens = tagger.tokens(pixels(pictures[2:]))
    decoder: Any = tagger.network.head
    with torch.no_grad():
        (expected,) = decoder.attention(tokens, tagger.embed(labels)[1])
    torch.testing.assert_close(maps[2].flatten(1), expected, rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(tagger.attention(pictures[2], labels), maps[2:])


def test_heat_maps_are_of_each_labels_own_logit(
    normalised: Path, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tagger = zsl.Tagger.from_pretrained(normalised)
    (tokens,) = tagger.token_batches(pictures[:3])
    names, queries = tagger.embed(None)
    prepared = tagger.prepare(queries)
    maps = tagger.heat_maps(tokens, prepared)
    assert maps.shape == (3, len(names), 2, 2)
    at_mean = tokens.mean(dim=1, keepdim=True).expand_as(tokens)
    expected = tagger.score(tokens, prepared)[0] - tagger.score(at_mean, prepared)[0]
    torch.testing.assert_close(maps.sum(dim=(2, 3)), expected, rtol=0.02, atol=0.05)
    asked = tagger.heat_maps(tokens, [names[3], "pink", names[1]])
    torch.testing.assert_close(asked[:, [0, 2]], maps[:, [3, 1]], rtol=1e-3, atol=1e-4)
    # No sample of training images is scored again, and a few labels at a time will do.
    monkeypatch.delattr(TaggerNetwork, "prepare")
    monkeypatch.setattr("zsl.inference.explainer._LABELS_AT_ONCE", 2)
    some = tagger.heat_maps(tokens[1:], prepared, [5, 0, 3])
    torch.testing.assert_close(some, maps[1:, [5, 0, 3]], rtol=1e-3, atol=1e-4)


def test_calibrated_logits_have_calibrated_heat_maps(
    normalised: Path, pictures: list[Path]
) -> None:
    tagger = zsl.Tagger.from_pretrained(normalised)
    (tokens,) = tagger.token_batches(pictures[:2])
    plain = tagger.prepare(tagger.embed(["pink", "red"])[1])
    scale = torch.tensor([2.0, 0.5])
    nothing = torch.zeros(2)
    answers = Answers(scale, nothing, nothing, nothing, nothing, nothing)
    calibrated = tagger.heat_maps(tokens, plain._replace(answers=answers), [1, 0])
    expected = tagger.heat_maps(tokens, plain, [1, 0]) * scale[[1, 0], None, None]
    torch.testing.assert_close(calibrated, expected)


def test_where_an_image_is_seen_as_a_whole_there_are_no_heat_maps(tmp_path: Path) -> None:
    pooled = tiny_backbone(stride=None, pooled=True)
    tagger = zsl.Tagger.from_pretrained(write_checkpoint(tmp_path / "run", backbone=pooled))
    with pytest.raises(InputError, match="so there are no heat maps"):
        tagger.heat_maps(torch.zeros(1, 1, 8), ["pink"])
    with pytest.raises(InputError, match="so there are no heat maps"):
        tagger.attention([])


def test_a_head_without_attention_says_so(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "run", head=BilinearConfig())
    with pytest.raises(InputError, match="The head BilinearHead has no attention"):
        zsl.Tagger.from_pretrained(path).attention([])


def test_scores_of_cosines_are_told_as_they_are(tmp_path: Path) -> None:
    tagger = zsl.Tagger.from_pretrained(write_checkpoint(tmp_path / "run", head=ConSEConfig()))
    (_, scores), *_ = tagger.predict([Image.new("RGB", (9, 7), "red")], top_k=8)
    red = torch.tensor([255, 0, 0], dtype=torch.uint8).view(1, 3, 1, 1)
    logits = tagger(red.expand(-1, -1, 64, 64))
    assert scores == pytest.approx(sorted(logits[0].tolist(), reverse=True))
    assert tagger.predict([Image.new("RGB", (9, 7))], threshold=-1.0)[0].scores


def test_import_is_light() -> None:
    code = "import sys, zsl; assert 'torch' not in sys.modules; zsl.nothing"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "AttributeError: module 'zsl' has no attribute 'nothing'" in run.stderr


def test_scores_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    tagger = zsl.Tagger.from_pretrained(write_checkpoint(tmp_path / "run"))
    torch.nn.init.constant_(next(tagger.network.head.parameters()), torch.nan)
    with pytest.raises(InputError, match=r"scores are not numbers \(NaN\)"):
        tagger.predict(Image.new("RGB", (64, 64)))


def test_images_are_resized_as_in_the_training(tmp_path: Path) -> None:
    """By the checkpoint alone: in predictions, in the folder to share, on the data again."""
    images = {"interpolation": "bicubic", "center_crop": 0.8}
    path = write_checkpoint(tmp_path / "run", 48, images)
    recipe = read_checkpoint(path).contents.data
    data = make_datamodule(recipe, {"num_workers": 0})
    data.setup("test")
    images_of_test: Any = data.test_dataset
    batch = next(iter(data.test_dataloader()))
    tagger = zsl.Tagger.from_pretrained(path)
    tagger.save_pretrained(tmp_path / "shared")
    for asked in (tagger, zsl.Tagger.from_pretrained(tmp_path / "shared")):
        tokens = torch.cat(list(asked.token_batches(images_of_test.paths)))
        assert torch.equal(tokens, tagger.tokens(batch["image"]))
    squashed = zsl.Tagger.from_pretrained(write_checkpoint(tmp_path / "squashed", 48))
    assert not torch.equal(torch.cat(list(squashed.token_batches(images_of_test.paths))), tokens)
    assert "shorter side to 60" in (tmp_path / "shared" / "README.md").read_text()
    for changes in ({"center_crop": None}, {"interpolation": "bilinear"}):
        with pytest.raises(InputError, match=r"images are resized as .*, but .* trained with"):
            score_checkpoint(path, {"images": changes})


def test_maps_lie_on_the_part_of_the_image_that_is_seen() -> None:
    image = Image.new("RGB", (60, 40), "black")
    image.paste((255, 255, 255), (14, 4, 46, 36))
    seen = Resizing(center_crop=0.8).seen_part(image)
    assert seen.size == (32, 32)
    assert seen.getextrema() == ((255, 255),) * 3
    assert Resizing().seen_part(image) is image
