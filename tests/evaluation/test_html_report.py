import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image

from zsl.evaluation.html_report import Section, write
from zsl.evaluation.results import Comparison, lines
from zsl.metrics import Protocol, prevalence
from zsl.metrics.evaluation import evaluate

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


def make_section(roles: list[str], num_images: int = 12, name: str = "first") -> Section:
    generator = torch.Generator().manual_seed(len(name))
    scores = torch.randn(num_images, len(roles), generator=generator)
    targets = torch.randint(-1, 2, scores.shape, generator=generator).to(torch.int8)
    targets[:, 0].clamp_(max=0)
    places = range(len(roles))
    groups = {
        "zsl": [place for place in places if roles[place] == "unseen"],
        "gzsl": list(places),
        "seen": [place for place in places if roles[place] == "seen"],
    }
    evaluation = evaluate(scores, targets, groups)
    replicates = {"zsl/mAP": torch.linspace(0.2, 0.8, 41)}
    names = [*NASTY, *(f"label {place}" for place in places)][: len(roles)]
    labels = pd.DataFrame(
        {
            "label": names,
            "role": roles,
            "AP": evaluation.average_precision.numpy(),
            "positives": (targets == 1).sum(dim=0).numpy(),
            "chance": prevalence(targets).numpy(),
            "nearest": "<i>near 0.50",
            "cosine": torch.rand(len(roles), generator=generator).tolist(),
        }
    )
    other = evaluate(scores, targets, groups, protocol=Protocol("labelled_images", "skip"))
    return Section(
        name=name,
        facts={"checkpoint": "runs/<odd>&/\udcff.ckpt"},
        lines=lines(evaluation, replicates) + lines(other),
        labels=labels,
        scores=scores,
        targets=targets,
        picture=lambda row: Image.new("RGBA", (500, 20 + row)),
    )


def write_page(folder: Path, sections: list[Section], comparisons: list[Comparison]) -> Page:
    path = folder / "report" / "report.html"
    write(path, sections, comparisons)
    return Page(path.read_text(encoding="utf-8"))


ROLES = ["seen"] * 6 + ["held_out"] * 2 + ["unseen"] * 6


def test_a_page_is_self_contained_and_escaped(tmp_path: Path) -> None:
    section = make_section(["unseen", "unseen", *["seen"] * 3, "held_out", *["unseen"] * 4])
    page = write_page(tmp_path, [section], [])
    assert {address.partition(",")[0] for address in page.addresses} == {
        "data:image/jpeg;base64",
        "data:image/svg+xml;base64",
    }
    assert not page.tags & {"script", "link", "i"}
    for name in section.labels["label"]:
        assert page.has(name)
    low, high = section.lines[0].intervals["mAP"]
    assert page.has(f"[{low:.3f}, {high:.3f}]")
    for protocol in (Protocol(), Protocol("labelled_images", "skip")):
        assert page.has(protocol.definition)
    assert page.has("runs/<odd>&/?.ckpt")
    assert not page.has("Side by side")


def test_pictures_are_those_of_the_best_and_worst_labels(tmp_path: Path) -> None:
    section = make_section(ROLES)
    shown: list[int] = []

    def picture(row: int) -> Image.Image:
        shown.append(row)
        return Image.new("RGB", (8, 8))

    page = write_page(tmp_path, [Section(**vars(section) | {"picture": picture})], [])
    best = 8 + int(section.labels["AP"][8:].argmax())
    known = section.targets[:, best] >= 0
    ranking = section.scores[:, best].masked_fill(~known, -torch.inf).argsort(descending=True)
    assert shown[:4] == ranking[:4].tolist()
    assert any(re.fullmatch(r"✓ ranked \d+ of \d+", text) for text in page.texts)


def test_two_sections_are_compared(tmp_path: Path) -> None:
    sections = [make_section(ROLES), make_section(ROLES, name="second <one>")]
    comparisons = [
        Comparison("first", "second <one>", "zsl/mAP", 0.05, 0.01, 0.09),
        Comparison("first", "second <one>", "seen/mAP", -0.01, -0.02, 0.03),
    ]
    page = write_page(tmp_path, sections, comparisons)
    for text in ("Side by side", "more than noise", "within the noise", "[+0.010, +0.090]"):
        assert page.has(text)
    assert page.ids == ["checkpoint-1", "checkpoint-2"]
    assert {"#checkpoint-1", "#checkpoint-2"} <= set(page.addresses)


def test_many_labels_have_a_curve_and_a_full_table(tmp_path: Path) -> None:
    section = make_section(["seen"] * 150 + ["unseen"] * 30)
    page = write_page(tmp_path, [section], [])
    assert page.has("150 seen and held-out labels, the 48 best and the 48 worst of those with")
    assert page.has("All 180 labels as a table")
    assert page.has("The other ")
    for name in section.labels["label"]:
        assert page.has(name)
    assert sum(address.startswith("data:image/svg") for address in page.addresses) == 2


@pytest.mark.parametrize(
    ("roles", "num_images"),
    [
        (["seen", "unseen"], 12),
        (["seen", "seen", "unseen", "unseen"], 1),
        (["unseen", "seen"], 12),
    ],
)
def test_little_data_is_reported(tmp_path: Path, roles: list[str], num_images: int) -> None:
    section = make_section(roles, num_images)
    page = write_page(tmp_path, [section], [])
    for name in section.labels["label"]:
        assert page.has(name)
