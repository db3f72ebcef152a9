"""Images for notebooks."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import zsl
from tests.fakes.checkpoints import write_checkpoint
from tests.fakes.parts import tiny_backbone
from zsl.errors import InputError
from zsl.inference.gallery import Gallery, image_grid
from zsl.inference.heat_maps import overlay


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("run")).parents[1]


@pytest.fixture(scope="module")
def gallery(run: Path) -> Gallery:
    tagger = zsl.Tagger.from_pretrained(run / "checkpoints" / "best.ckpt")
    paths = sorted((run / "photos" / "images").iterdir())[:7]
    return Gallery(tagger, [*paths[:3], *(Image.open(path).convert("RGBA") for path in paths[3:])])


def test_scores_are_those_of_predict(gallery: Gallery) -> None:
    labels = ["pink", "red", "sky blue"]
    predicted = gallery.tagger.predict(gallery.images, labels, top_k=3)
    found = gallery.scores(labels)
    assert found.shape == (7, 3)
    for row, (names, scores) in zip(found, predicted, strict=True):
        assert [float(row[labels.index(name)]) for name in names] == pytest.approx(scores, abs=1e-6)


def test_a_row_has_the_images_of_the_highest_scores(gallery: Gallery) -> None:
    figure = gallery.ranked(["pink", "red"], count=4)
    scores = gallery.scores(["pink", "red"]).T.sort(descending=True)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [f"{score:.3f}" for row in scores.values for score in row[:4].tolist()]
    assert [figure.axes[0].get_ylabel(), figure.axes[4].get_ylabel()] == ["pink", "red"]
    best = int(scores.indices[0, 0])
    (drawn,) = figure.axes[0].get_images()
    expected = np.asarray(gallery.overlays(best, ["pink"])[0])
    assert np.array_equal(np.asarray(drawn.get_array()), expected)
    assert len(gallery.ranked(["pink"], count=50).axes) == 7


def test_a_tagger_without_heat_maps_shows_the_images(tmp_path: Path, gallery: Gallery) -> None:
    pooled = tiny_backbone(stride=None, pooled=True)
    tagger = zsl.Tagger.from_pretrained(write_checkpoint(tmp_path / "run", backbone=pooled))
    plain = Gallery(tagger, gallery.images)
    (drawn,) = plain.ranked(["pink"], count=1).axes[0].get_images()
    best = int(plain.scores(["pink"]).argmax())
    expected = np.asarray(gallery.images[best])
    assert np.array_equal(np.asarray(drawn.get_array()), expected)
    with pytest.raises(InputError, match="does not see a square of parts of the image"):
        plain.overlays(0, ["pink"])


def test_mistakes_are_one_sentence(gallery: Gallery, tmp_path: Path) -> None:
    (tmp_path / "none.jpg").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"none.jpg can't be read \(not an image\)"):
        Gallery(gallery.tagger, [gallery.images[0], tmp_path / "none.jpg"])
    with pytest.raises(InputError, match="no images to look at"):
        Gallery(gallery.tagger, [])
    with pytest.raises(InputError, match="'blurple'"):
        gallery.ranked(["blurple"])


def test_the_grid_is_as_high_as_it_must_be(gallery: Gallery) -> None:
    figure = image_grid(gallery.images, list("abcdefg"), columns=3, colours=["red"] * 7)
    assert len(figure.axes) == 9
    assert [bool(axes.get_images()) for axes in figure.axes] == [True] * 7 + [False] * 2


def test_an_overlay_dims_what_speaks_against_a_label_and_keeps_colours() -> None:
    image = Image.new("RGB", (40, 40), (200, 100, 40))
    contributions = np.zeros((4, 4), dtype=np.float32)
    contributions[0, 0], contributions[-1] = 0.5, -3
    found = np.asarray(overlay(image, contributions)).astype(float)
    assert found[0, 0].tolist() == [200, 100, 40]
    assert found[-1, -1].tolist() == found[20, 20].tolist() == [50, 25, 10]
    assert np.allclose(found[..., 0], 2 * found[..., 1], atol=1.5)
    against = np.asarray(overlay(image, contributions.clip(max=0)))
    assert np.unique(against.reshape(-1, 3), axis=0).tolist() == [[50, 25, 10]]
