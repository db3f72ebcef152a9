"""Images that fit words, in memory and in a folder."""

import logging
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import zsl
from tests.fakes.checkpoints import NORMALISED, write_checkpoint
from tests.fakes.parts import tiny_backbone, tiny_head
from zsl.errors import InputError
from zsl.inference import gallery as gallery_module
from zsl.inference.gallery import Gallery, image_grid
from zsl.inference.heat_maps import overlay
from zsl.inference.image_batches import _read
from zsl.models import BilinearConfig


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
    even = np.asarray(overlay(image, np.full((4, 4), 0.1, dtype=np.float32)))
    assert len(np.unique(even.reshape(-1, 3), axis=0)) == 1


LABELS = ["pink", "red", "sky blue"]


@pytest.fixture
def album(run: Path, in_tmp_path: Path) -> list[Path]:
    """Ten images in the working directory."""
    shutil.copytree(run / "photos" / "images", "album")
    paths = sorted(Path("album").iterdir())
    for path in paths[10:]:
        path.unlink()
    return paths[:10]


def note_read(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Notes which images are read."""
    read: list[Any] = []

    def note(image: Any, transform: Any) -> Any:
        read.append(image)
        return _read(image, transform)

    monkeypatch.setattr("zsl.inference.image_batches._read", note)
    return read


def check_scores(found: Gallery, paths: list[Path], tolerance: float = 2e-5) -> None:
    """Those of `Tagger.predict`, of each image once.

    The tokens of a backbone that was trained are rounded to float16, those of a frozen one are so
    from the first.
    """
    assert sorted(map(str, found.sources)) == sorted(map(str, paths))
    scores = found.scores(LABELS)
    assert scores.dtype == torch.float32
    predicted = found.tagger.predict([*found.sources], LABELS, top_k=3)
    for row, prediction in zip(scores.tolist(), predicted, strict=True):
        expected = dict(zip(*prediction, strict=True))
        assert row == pytest.approx([expected[label] for label in LABELS], abs=tolerance)


@pytest.mark.parametrize("parts", [{}, NORMALISED])
def test_a_folder_answers_as_predict_does(
    tmp_path: Path, album: list[Path], parts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = {"backbone": tiny_backbone(stride=None, frozen=True), **parts}
    tagger = zsl.Tagger.from_pretrained(write_checkpoint(tmp_path / "run", **parts))
    built = Gallery.build(tagger, album, "index", batch_size=3)
    check_scores(built, album, tolerance=1e-6)
    read = note_read(monkeypatch)
    opened = Gallery.open(tagger, "index")
    assert torch.equal(opened.scores(LABELS), built.scores(LABELS))
    assert opened.sources == [Path.cwd() / str(path) for path in built.sources]
    in_memory = Gallery(tagger, built.sources)
    assert len(read) == 10
    assert opened.best(LABELS, 4) == in_memory.best(LABELS, 4)
    assert torch.equal(opened.tokens[[2, 1]].float(), in_memory.tokens[[2, 1]])
    assert [np.asarray(image).tobytes() for image in opened.images[3:5]] == [
        np.asarray(image).tobytes() for image in in_memory.images[3:5]
    ]
    assert [np.asarray(image).tobytes() for image in opened.overlays(4, LABELS)] == [
        np.asarray(image).tobytes() for image in in_memory.overlays(4, LABELS)
    ]


@pytest.mark.parametrize("parts", [{}, {"head": tiny_head(num_groups=2)}, NORMALISED])
def test_a_compact_folder_answers_as_predict_does(
    tmp_path: Path, album: list[Path], parts: dict[str, Any]
) -> None:
    tagger = zsl.Tagger.from_pretrained(write_checkpoint(tmp_path / "run", **parts))
    built = Gallery.build(tagger, album, "index", batch_size=3, compact=True)
    check_scores(built, album, tolerance=1e-3)
    opened = Gallery.open(tagger, "index")
    assert torch.equal(opened.scores(LABELS), built.scores(LABELS))
    # Its tokens are made once more.
    in_memory = Gallery(tagger, built.sources)
    torch.testing.assert_close(opened.tokens[[2, 1]], in_memory.tokens[[2, 1]])
    assert len(Gallery.build(tagger, album, "index")) == 10  # It stays compact.
    Gallery.build(tagger, album[:1], "exact")
    with pytest.raises(InputError, match="The index exact is not compact and stays so; name an"):
        Gallery.build(tagger, album[:1], "exact", compact=True)
    tagger.save_pretrained("shared")
    shared = zsl.Tagger.from_pretrained("shared")
    assert torch.equal(Gallery.open(shared, "index").scores(LABELS), built.scores(LABELS))
    next(tagger.network.head.parameters()).data.add_(1)
    with pytest.raises(InputError, match=r"made with head \w+, but the tagger has head \w+;"):
        Gallery.open(tagger, "index")


def test_it_goes_on_where_it_was_stopped(
    gallery: Gallery, album: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tokens = gallery.tagger.tokens
    for batches in (0, 1, 2):
        left = [batches]

        def stop(images: Tensor) -> Tensor:
            if not left[0]:  # noqa: B023
                raise KeyboardInterrupt
            left[0] -= 1  # noqa: B023
            return make_tokens(images)

        with monkeypatch.context() as patch:
            patch.setattr(gallery.tagger, "tokens", stop)
            with pytest.raises(KeyboardInterrupt):
                Gallery.build(gallery.tagger, album, "index", batch_size=2)
    assert len(Gallery.open(gallery.tagger, "index")) == 6
    read = note_read(monkeypatch)
    check_scores(Gallery.build(gallery.tagger, album, "index", batch_size=2), album)
    assert sorted(read[:-10]) == album[6:]


def test_only_what_is_new_or_changed_is_read(
    gallery: Gallery,
    album: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    first = Gallery.build(gallery.tagger, album[:8], "index")
    before = dict(zip(first.sources, first.scores(LABELS).tolist(), strict=True))
    shutil.copy(album[9], album[2])  # Another size, or at least another time.
    os.utime(album[3], ns=(0, 0))
    album[4].unlink()
    named = [path for path in album if path not in album[4:6]]
    read = note_read(monkeypatch)
    second = Gallery.build(gallery.tagger, [album[0], *named], "index")
    assert sorted(read) == sorted([album[2], album[3], album[8], album[9]])
    check_scores(second, named)
    after = dict(zip(second.sources, second.scores(LABELS).tolist(), strict=True))
    assert after[album[2]] == after[album[9]] != before[album[2]]
    assert after[album[7]] == before[album[7]]
    # Not named, but not deleted either.
    assert len(Gallery.open(gallery.tagger, "index")) == 9
    assert "The index index: 8 added, 0 changed, 0 dropped; it has 8 images." in caplog.text
    assert "The index index: 2 added, 2 changed, 1 dropped; it has 9 images." in caplog.text


def test_images_that_cannot_be_read_are_skipped_and_counted(
    gallery: Gallery, album: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    album[3].write_bytes(b"no image")
    paths = [*album, Path("none.jpg")]
    check_scores(Gallery.build(gallery.tagger, paths, "index"), [*album[:3], *album[4:]])
    assert "2 of 11 images were skipped; the first: The image album/" in caplog.text
    with pytest.raises(InputError, match="None of the 2 images can be read; the first: The image"):
        Gallery.build(gallery.tagger, [album[3], "none.jpg"], "bad")
    with pytest.raises(InputError, match="bad has no images in it; name some to add"):
        Gallery.open(gallery.tagger, "bad")
    with pytest.raises(InputError, match="no images to look at"):
        Gallery.build(gallery.tagger, [], "new")
    assert not Path("new").exists()


def test_an_index_of_another_backbone_is_refused(
    tmp_path: Path, gallery: Gallery, album: list[Path]
) -> None:
    Gallery.build(gallery.tagger, album[:1], "index")
    others: list[tuple[dict[str, Any], str]] = [
        ({"image_size": 32}, "made with image_size 64, but the tagger has image_size 32;"),
        ({"images": {"center_crop": 0.9}}, "center_crop None, but the tagger has center_crop"),
        ({"images": {"interpolation": "bicubic"}}, "made with interpolation bilinear, but"),
        ({"backbone": tiny_backbone(stride=8)}, "stride None, but the tagger has stride 8;"),
        ({"backbone": tiny_backbone(name="test_vit", stride=None)}, "made with name test_re"),
    ]
    for number, (changes, message) in enumerate(others):
        other = zsl.Tagger.from_pretrained(write_checkpoint(tmp_path / f"{number}", **changes))
        with pytest.raises(InputError, match=message):
            Gallery.open(other, "index")
        with pytest.raises(InputError, match=message):
            Gallery.build(other, album, "index")
    other = zsl.Tagger.from_pretrained(write_checkpoint(tmp_path / "head", head=BilinearConfig()))
    assert len(Gallery.open(other, "index")) == 1  # The head does not matter.
    next(other.network.backbone.parameters()).data.add_(1)
    with pytest.raises(InputError, match=r"made with weights .*, but the tagger has weights"):
        Gallery.open(other, "index")


def test_the_best_are_those_of_a_naive_search(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In parts of any size; among equals the first comes first."""
    generator = torch.Generator().manual_seed(0)
    for number, num_labels in ((23, 3), (64, 1), (1, 2)):
        logits = torch.randint(0, 5, (number, num_labels), generator=generator) + 50.0
        shapes = []

        def score(tokens: Tensor, _: Any) -> tuple[Tensor, Tensor]:
            shapes.append(len(tokens))  # noqa: B023
            found = logits[tokens[:, 0, 0].long()]  # noqa: B023
            return found, found.sigmoid()  # All of them 1.

        monkeypatch.setattr(gallery.tagger, "score", score)
        monkeypatch.setattr(gallery, "tokens", torch.arange(number)[:, None, None])
        for size in (1, 5, 64):
            monkeypatch.setattr(gallery_module, "_VALUES_AT_ONCE", size)
            for count in (1, 4, 100):
                found = gallery.best(LABELS[:num_labels], count)
                assert [match.label for match in found] == LABELS[:num_labels]
                for match, column in zip(found, logits.T.tolist(), strict=True):
                    order = sorted(range(number), key=lambda row: (-column[row], row))
                    assert match.indices == order[:count]
                    assert match.scores == [1.0] * min(count, number)
            assert max(shapes) <= size
            shapes.clear()


def test_one_label_is_a_text(gallery: Gallery) -> None:
    assert gallery.best("pink", 2) == gallery.best(["pink"], 2)
    with pytest.raises(InputError, match="count is 0; expected 1 or more"):
        gallery.best("pink", 0)
