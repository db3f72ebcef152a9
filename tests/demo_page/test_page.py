"""The page in a browser: Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

import zsl
from tests.fakes.checkpoints import write_checkpoint
from zsl.files.sidecars import read_sidecar

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext
    from playwright.sync_api import Page as Tab

playwright = pytest.importorskip("playwright.sync_api")
pytest.importorskip("gradio")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("album")


@pytest.fixture(scope="module")
def address(album: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a page with two checkpoints and a folder of four images is served."""
    from zsl.demo_page.server import open_socket, serve

    run = tmp_path_factory.mktemp("run")
    first = write_checkpoint(run / "a")
    second = write_checkpoint(run / "b")
    for number, path in enumerate(sorted((run / "a/photos/images").iterdir())[:4]):
        shutil.copy(path, album / f"{number}.png")
    taggers = {
        name: zsl.Tagger.from_pretrained(path) for name, path in (("A", first), ("B", second))
    }
    with open_socket("127.0.0.1", 0) as at:
        serving = threading.Thread(
            target=serve, args=(taggers, [album], "127.0.0.1", at), daemon=True
        )
        serving.start()
        yield f"http://127.0.0.1:{at.getsockname()[1]}/"


@pytest.fixture(scope="module")
def browser() -> Iterator[BrowserContext]:
    """With a narrow window, as on a phone."""
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM)
        yield chromium.new_context(viewport={"width": 390, "height": 844})


@pytest.fixture
def page(browser: BrowserContext, address: str) -> Iterator[Tab]:
    """The page; what it asks for is on this machine, and nothing fails."""
    tab = browser.new_page()
    asked: list[str] = []
    errors: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto(address)
    tab.get_by_label("Words").wait_for()
    yield tab
    tab.close()
    elsewhere = {urlsplit(url).netloc for url in asked} - {urlsplit(address).netloc, ""}
    assert elsewhere == set()
    assert len(asked) > 5
    assert errors == []


def told(page: Tab, text: str) -> None:
    """Waits until the live region says something."""
    page.locator("[role=status]", has_text=text).wait_for()


def words_of(page: Tab) -> list[str]:
    return page.locator("#answers tbody th button").all_inner_texts()


def test_words_rank_sort_and_become_tags(page: Tab, album: Path) -> None:
    """By keyboard where a reader of a screen would."""
    page.get_by_label("Words").fill("pink, red")
    page.get_by_label("Folder").press("Enter")
    told(page, "4 images opened. 2 words asked.")
    assert sorted(words_of(page)) == ["pink", "red"]
    page.get_by_label("Words").fill("sky blue, red, grey")
    page.get_by_label("Words").press("Enter")
    told(page, "3 words asked.")
    assert sorted(words_of(page)) == ["grey", "red", "sky blue"]

    page.get_by_label("Sort images").click()
    page.get_by_role("option", name="grey").click()
    told(page, "Images that show 'grey': A ")
    scores = page.locator("#cards .score").all_inner_texts()
    numbers = [float(score.rsplit(" ", 1)[1]) for score in scores]
    assert len(numbers) == 4
    assert numbers == sorted(numbers, reverse=True)

    page.locator("#cards button").nth(1).press("Enter")
    name = page.locator("#cards button .name").nth(1).inner_text()
    told(page, f"Shown: {name}.")
    word = words_of(page)[0]
    page.get_by_role("button", name=word, exact=True).press("Enter")
    told(page, f"What speaks for '{word}': A: most ")
    alt = page.locator("#figure img").first.get_attribute("alt")
    assert alt is not None
    assert alt.startswith(f"{name}, bright where it speaks for {word} (A): most ")
    assert page.locator("#figure img").count() == 2

    for box in page.locator("#answers input").all():
        box.set_checked(True)
    told(page, f"Tags of {name}: ")
    page.get_by_role("button", name="Write tags").click()
    told(page, "Tags written to ")
    assert {*read_sidecar(album / name)} == {"sky blue", "red", "grey"}
    with page.expect_download() as download:
        page.get_by_role("button", name="Download answers").click()
    lines = download.value.path().read_text().splitlines()
    assert lines[0] == "image,checkpoint,rank,label,score,threshold,decision,why"
    assert len(lines) == 1 + 4 * 2 * 3
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_mistakes_are_told_in_a_sentence(page: Tab, album: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    page.locator("input[type=file]").set_input_files([broken])
    told(page, "The image broken.jpg can't be read (not an image)")
    page.locator("input[type=file]").set_input_files([broken, album / "0.png"])
    told(page, "1 image opened. 1 file skipped: The image broken.jpg can't be read")
    page.get_by_label("Words").fill("blurple")
    page.get_by_label("Words").press("Enter")
    told(page, "has no vector for the label 'blurple'")
    page.get_by_label("Folder").fill("/")
    page.get_by_role("button", name="Open folder").click()
    told(page, "There is no folder / among those that this page may read")
    assert page.locator("text=Traceback").count() == 0


def test_a_program_is_given_no_file_of_the_machine(page: Tab, address: str, album: Path) -> None:
    """Neither those of the folder, which the page shows, by their paths, nor one taken for an
    upload."""
    assert page.request.get(f"{address}gradio_api/file={album}/0.png").status == 403
    (event,) = [
        event["id"]
        for event in page.request.get(f"{address}config").json()["dependencies"]
        if event["targets"][0][1] == "upload"
    ]
    file = {"path": str(album / "0.png"), "meta": {"_type": "gradio.FileData"}}
    asked = {"data": [None, "", [file]], "fn_index": event, "session_hash": "another"}
    page.request.post(f"{address}gradio_api/queue/join", data=asked)
    answer = page.request.get(f"{address}gradio_api/queue/data?session_hash=another").text()
    assert '"success":false' in answer
    assert "opened" not in answer
    for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
        assert page.request.get(address, headers=headers).status == 403


def test_every_field_has_a_name(page: Tab) -> None:
    """In the tree that a reader of the screen is given."""
    page.get_by_label("Folder").press("Enter")
    told(page, "4 images opened.")
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, textarea, select, a")]
        .filter((field) => field.checkVisibility() && !field.closest("label")?.innerText.trim()
            && !field.innerText.trim() && !field.getAttribute("aria-label")
            && !field.querySelector("img[alt]"))
        .map((field) => field.outerHTML)"""
    )
    assert nameless == []
    assert page.locator("img:not([alt])").count() == 0
    assert page.title() == "Ask any word of your images"
    assert page.locator("html").get_attribute("lang") == "en"


@pytest.mark.slow
def test_ctrl_c_ends_it_at_once(
    browser: BrowserContext, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Though a tab is open; uploads are gone, and nothing but that it stopped is said."""
    checkpoint = str(write_checkpoint(tmp_path_factory.mktemp("run")))
    command = [sys.executable, "-m", "zsl.demo", "--checkpoint", checkpoint, "--port=0"]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        # Of a shell's job in the background it is ignored, as its children inherit.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        tab = browser.new_page()
        tab.goto(process.stdout.readline().split()[0])
        tab.get_by_label("Words").wait_for()
        assert len(list(tmp_path.glob("zsl-demo-*"))) == 1
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr.read() == "Stopped.\n"
        tab.close()
    assert not list(tmp_path.glob("zsl-demo-*"))
