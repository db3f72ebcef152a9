import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from PIL import Image

from tests.evaluation.fakes import make_scored
from zsl.evaluation.assessment import Assessment, assess
from zsl.evaluation.html_report import write_html_report
from zsl.metrics import Protocol
from zsl.metrics.bootstrap import Bootstrap

VOID = {"meta", "img", "br"}
NASTY = ['<b>&"$x$', "smile 😀", "w" * 300, "</td><script>alert(1)</script>"]


class Page(HTMLParser):
    """Checks that tags are closed in order; keeps texts and addresses."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attributes:
            if name in ("src", "href"):
                self.addresses.append(value or "")
            if name == "id":
                self.ids.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())

    def has(self, text: str) -> bool:
        return any(text in own for own in self.texts)


def make_assessment(
    roles: list[str], num_images: int = 12, name: str = "first", **options: Any
) -> Assessment:
    labels = [*NASTY, *(f"label {position}" for position in range(len(roles)))][: len(roles)]
    scored = make_scored(roles, num_images, name, labels, **options)
    protocols = [Protocol(), Protocol("labelled_images", "skip")]
    return assess(scored, protocols, (3, 5), Bootstrap(num_images, 5))


def write_page(
    folder: Path, *assessments: Assessment, comparisons: tuple[dict[str, Any], ...] = ()
) -> Page:
    path = folder / "report" / "report.html"
    write_html_report(path, assessments, pd.DataFrame(comparisons))
    return Page(path.read_text(encoding="utf-8"))


ROLES = ["seen"] * 6 + ["held_out"] * 2 + ["unseen"] * 6


@pytest.mark.draws
def test_a_page_is_self_contained_and_escaped(tmp_path: Path) -> None:
    assessment = make_assessment(["unseen", "unseen", *["seen"] * 3, "held_out", *["unseen"] * 4])
    page = write_page(tmp_path, assessment)
    assert {address.partition(",")[0] for address in page.addresses} == {
        "data:image/jpeg;base64",
        "data:image/svg+xml;base64",
    }
    assert not page.tags & {"script", "link", "i"}
    for name in assessment.labels["label"]:
        assert page.has(name)
    low, high = assessment.evaluations[0].intervals["zsl/mAP"]
    assert page.has(f"[{low:.3f}, {high:.3f}]")
    for protocol in (Protocol(), Protocol("labelled_images", "skip")):
        assert page.has(protocol.definition)
    assert page.has("runs/<odd>&/\\udcff.ckpt")
    assert not page.has("Side by side")


def test_images_are_those_of_the_best_and_worst_labels(tmp_path: Path) -> None:
    shown: list[int] = []

    def image(row: int) -> Image.Image:
        shown.append(row)
        return Image.new("RGB", (8, 8))

    assessment = make_assessment(ROLES, image=image)
    page = write_page(tmp_path, assessment)
    best = 8 + int(assessment.labels["AP"][8:].argmax())
    scores, targets = assessment.scored.scores[:, best], assessment.scored.targets[:, best]
    ranking = scores.masked_fill(targets < 0, -torch.inf).argsort(descending=True)
    assert shown[:4] == ranking[:4].tolist()
    assert any(re.fullmatch(r"✓ ranked \d+ of \d+", text) for text in page.texts)


def test_two_checkpoints_are_compared(tmp_path: Path) -> None:
    assessments = [make_assessment(ROLES), make_assessment(ROLES, name="second <one>")]
    names = {"first": "first", "second": "second <one>"}
    better = {"metric": "zsl/mAP", "difference": 0.05, "low": 0.01, "high": 0.09}
    equal = {"metric": "seen/mAP", "difference": -0.01, "low": -0.02, "high": 0.03}
    comparisons = (
        {**names, **better, "is_more_than_noise": True},
        {**names, **equal, "is_more_than_noise": False},
    )
    page = write_page(tmp_path, *assessments, comparisons=comparisons)
    for text in ("Side by side", "more than noise", "within the noise", "[+0.010, +0.090]"):
        assert page.has(text)
    assert page.ids == ["checkpoint-1", "checkpoint-2"]
    assert {"#checkpoint-1", "#checkpoint-2"} <= set(page.addresses)


def test_many_labels_have_a_curve_and_a_full_table(tmp_path: Path) -> None:
    assessment = make_assessment(["seen"] * 150 + ["unseen"] * 30)
    page = write_page(tmp_path, assessment)
    assert page.has("150 seen and held-out labels, the 48 best and the 48 worst of those with")
    assert page.has("All 180 labels as a table")
    assert page.has("The other ")
    for name in assessment.labels["label"]:
        assert page.has(name)
    assert sum(address.startswith("data:image/svg") for address in page.addresses) == 3


@pytest.mark.draws
@pytest.mark.parametrize(
    ("roles", "num_images"),
    [
        (["seen", "unseen"], 12),
        (["seen", "seen", "unseen", "unseen"], 1),
        (["unseen", "seen"], 12),
    ],
)
def test_little_data_is_reported(tmp_path: Path, roles: list[str], num_images: int) -> None:
    assessment = make_assessment(roles, num_images)
    page = write_page(tmp_path, assessment)
    for name in assessment.labels["label"]:
        assert page.has(name)


def test_a_training_and_its_held_out_labels_are_in_the_page(tmp_path: Path) -> None:
    groups = {"held_out": [2], "gzsl": [0, 1, 2], "seen": [0, 1]}
    scored = make_scored(["seen", "seen", "held_out"], labels=["a", "b", "c"], groups=groups)
    path = tmp_path / "run" / "checkpoints" / "best.ckpt"
    assessment = assess(replace(scored, path=path), [Protocol()], None, None)
    assert not write_page(tmp_path, assessment).has("The training")
    curves = tmp_path / "run" / "report" / "curves.png"
    curves.parent.mkdir(parents=True)
    curves.write_bytes(b"a chart")
    page = write_page(tmp_path, assessment)
    assert page.has("The training")
    assert "data:image/png;base64,YSBjaGFydA==" in page.addresses
    assert page.has("Labels: 2 seen + 1 held out = 3 (GZSL).")
    assert page.has("selected the checkpoint: 'c'.")
