"""The layout of the page, in Gradio, and what its widgets do with a visitor's session."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from zsl.demo_page import markup
from zsl.demo_page.answers import HeatMap, heat_map
from zsl.demo_page.session import Session, folder_images, uploaded_images
from zsl.errors import InputError
from zsl.inference.tagger import Tagger
from zsl.labels import Role

FOLDER = Path(__file__).parent
PAGE = 48
"""Cards that are shown at first, and more at a time."""
_AS_THEY_CAME = "as they came"
_SECONDS_BETWEEN = 3
_DAY = 24 * 3600

_SCROLL = """() => {
  const detail = document.querySelector("#detail");
  if (matchMedia("(max-width: 640px)").matches) detail.scrollIntoView();
}"""
"""On a phone the image lies below the cards, out of sight."""

Updates = dict[Any, Any]


class Page:
    """The page.

    Args:
        taggers: One or two, by the names that are shown.
        roots: Folders whose images a visitor may open; none where it is empty.
        can_write: Whether sidecars may be written there.
        uploads: Folder of uploaded images, Gradio's own.
        index: Folder that keeps what is made of images of folders; None keeps it in memory.

    Attributes:
        blocks: What Gradio serves.
    """

    def __init__(
        self,
        taggers: Mapping[str, Tagger],
        roots: Sequence[Path],
        can_write: bool,
        uploads: Path,
        index: Path | None = None,
    ) -> None:
        self._taggers = taggers
        self._index = index
        self._roots = roots
        self._can_write = can_write
        self._uploads = uploads
        title = "Ask any word of your images"
        with gr.Blocks(
            analytics_enabled=False, title=title, fill_width=True, delete_cache=(3600, _DAY)
        ) as self.blocks:
            self._state = gr.State(None)
            self._shown = gr.State(PAGE)
            gr.HTML(f"<h1>{title}</h1>{_about(taggers)}", elem_classes="intro")
            self._lay_out_questions()
            self._status = gr.HTML(
                markup.sentence("Open images to begin."),
                elem_id="status",
                js_on_load="element.setAttribute('role', 'status');"
                "element.setAttribute('aria-live', 'polite');",
            )
            self._lay_out_answers()
        self._view = [
            *(self._state, self._shown, self._status, self._cards, self._figure, self._table),
            *(self._sorting, self._sidecars),
        ]
        with self.blocks:
            self._connect()

    def _lay_out_questions(self) -> None:
        with gr.Row():
            self._files = gr.File(
                label="Images: drop them here, or press to choose",
                file_count="multiple",
                file_types=["image"],
                height=150,
            )
            with gr.Column(visible=bool(self._roots)):
                self._folder = gr.Textbox(
                    label="Folder",
                    info="In " + ", ".join(str(root) for root in self._roots),
                    value=str(self._roots[0]) if self._roots else "",
                    max_length=4096,
                )
                self._open = gr.Button("Open folder")
        with gr.Row(elem_id="question"):
            self._words = gr.Textbox(
                label="Words",
                info="Any, with commas between them; Enter asks them. Empty: the labels it was "
                "trained with.",
                placeholder="dog, beach, wedding",
                elem_id="words",
                scale=5,
                min_width=300,
            )
            self._ask = gr.Button("Ask", variant="primary", scale=1, min_width=140)

    def _lay_out_answers(self) -> None:
        with gr.Row(elem_id="tools"):
            self._sorting = gr.Dropdown(
                [_AS_THEY_CAME], value=_AS_THEY_CAME, label="Sort images", elem_id="sorting"
            )
            self._main = gr.Radio(
                list(self._taggers),
                value=next(iter(self._taggers)),
                label="Tags and order of",
                visible=len(self._taggers) > 1,
            )
            self._csv = gr.Button("Download answers (CSV)")
            self._sidecars = gr.Button(
                "Write tags beside the images (XMP)",
                interactive=False,
                visible=self._can_write and bool(self._roots),
            )
        # A browser downloads only what is there when its button is pressed, so that another one is
        # pressed for the visitor once the file is made.
        self._download = gr.DownloadButton("CSV", visible="hidden", elem_id="download")
        listener = (FOLDER / "page.js").read_text(encoding="utf-8")
        with gr.Row():
            with gr.Column(scale=3, min_width=320):
                self._cards = gr.HTML("", elem_id="cards", js_on_load=listener)
            with gr.Column(scale=2, min_width=320, elem_id="detail"):
                self._figure = gr.HTML("", elem_id="figure")
                self._table = gr.HTML("", elem_id="answers", js_on_load=listener)

    def _connect(self) -> None:
        # One at a time: the taggers are shared.
        options: dict[str, Any] = {
            "concurrency_id": "taggers",
            "concurrency_limit": 1,
            "api_visibility": "private",
        }
        opening = options | {"outputs": [*self._view, self._files], "show_progress": "hidden"}
        shown = options | {"outputs": self._view, "show_progress": "minimal"}
        about = [self._state, self._words]
        self._files.upload(self._open_files, [*about, self._files], **opening)
        for open_event in (self._open.click, self._folder.submit):
            open_event(self._open_folder, [*about, self._folder], **opening)
        for ask_event in (self._ask.click, self._words.submit):
            ask_event(self._ask_words, about, **shown)
        self._sorting.input(self._sort, [self._state, self._sorting], **shown)
        self._main.input(self._turn_to, [self._state, self._main], **shown)
        latest = shown | {"trigger_mode": "always_last"}
        chosen = self._cards.select(self._choose, [self._state, self._shown], **latest)
        chosen.success(None, js=_SCROLL, **options)
        self._table.select(self._look, [self._state], **latest)
        # Each of several in quick succession counts.
        self._table.input(self._accept, [self._state], trigger_mode="multiple", **shown)
        self._sidecars.click(self._write, [self._state], **shown)
        self._csv.click(
            self._save_csv, [self._state], **options | {"outputs": [self._download, self._status]}
        ).success(None, js="() => document.querySelector('#download')?.click()")

    def _session(self, state: Session | None) -> Session:
        return state or Session(self._taggers, self._can_write, self._index)

    def _open_files(
        self, state: Session | None, words: str, files: list[str] | None
    ) -> Iterator[Updates]:
        # The list of files is emptied: the images are shown, and the field is free for others.
        try:
            paths = uploaded_images(files or [], self._uploads)
        except InputError as error:
            yield self._tell(error)
            return
        for updates in self._open_images(self._session(state), words, paths, False):
            yield updates | {self._files: None}

    def _open_folder(self, state: Session | None, words: str, folder: str) -> Iterator[Updates]:
        try:
            paths = folder_images(folder, self._roots)
        except (InputError, OSError) as error:
            yield self._tell(error)
            return
        yield from self._open_images(self._session(state), words, paths, True)

    def _open_images(
        self, session: Session, words: str, paths: list[Path], is_folder: bool
    ) -> Iterator[Updates]:
        told, time_told = "", time.monotonic()
        try:
            for told in session.open(paths, is_folder):
                # Each is read out to whoever can't see it.
                if time.monotonic() - time_told > _SECONDS_BETWEEN:
                    time_told = time.monotonic()
                    yield {self._status: markup.sentence(told)}
        except InputError as error:
            yield self._tell(error)
            return
        try:
            told += " " + session.ask(words)
        except InputError as error:
            yield self._show(session, f"{told} {error}", is_error=True)
            return
        yield self._show(session, told)

    def _ask_words(self, state: Session | None, words: str) -> Updates:
        session = self._session(state)
        try:
            return self._show(session, session.ask(words))
        except InputError as error:
            return self._tell(error)

    def _sort(self, session: Session | None, word: str) -> Updates:
        if session is None or not session.answers:
            return self._tell("Open images to sort them.")
        session.sorted_by = word if word in session.labels else None
        session.chosen = session.order()[0]
        return self._show(session, session.summary())

    def _turn_to(self, state: Session | None, name: str) -> Updates:
        session = self._session(state)
        session.main = name if name in self._taggers else session.main
        return self._show(session, session.summary() or "Open images to begin.")

    def _choose(self, session: Session | None, shown: int, event: gr.EventData) -> Updates:
        if session is None:
            return self._tell("Open images to begin.")
        if event.more is not None:
            count = shown + PAGE
            return {self._shown: count, self._cards: markup.cards(session, count)}
        try:
            session.choose(int(event.image))
        except (InputError, TypeError) as error:
            return self._tell(error)
        return {
            self._figure: markup.whole_image(session),
            self._table: markup.answer_table(session),
            self._status: markup.sentence(_told_of(session)),
        }

    def _look(self, session: Session | None, event: gr.EventData) -> Updates:
        label = str(event.label)
        if session is None or label not in session.labels:
            return self._tell(f"The word {label!r} was not asked.")
        path = session.paths[session.chosen]
        maps = [(name, _map_of(tagger, path, label)) for name, tagger in self._taggers.items()]
        told = [
            (f"{name}: " if len(maps) > 1 else "")
            + (found if isinstance(found, str) else f"most {found.position}.")
            for name, found in maps
        ]
        return {
            self._figure: markup.figures(session, label, maps),
            self._status: markup.sentence(f"What speaks for {label!r}: {' '.join(told)}"),
        }

    def _accept(self, session: Session | None, event: gr.EventData) -> Updates:
        if session is None:
            return self._tell("Open images to begin.")
        try:
            return {
                self._status: markup.sentence(session.accept(str(event.tag), bool(event.checked)))
            }
        except InputError as error:
            return self._tell(error)

    def _write(self, session: Session | None) -> Updates:
        try:
            return {self._status: markup.sentence(self._session(session).write_sidecars())}
        except InputError as error:
            return self._tell(error)

    def _save_csv(self, session: Session | None) -> Updates:
        folder = tempfile.mkdtemp(dir=self._uploads)
        path = Path(folder, "answers.csv")
        try:
            self._session(session).write_csv(path)
        except InputError as error:
            raise gr.Error(str(error), print_exception=False) from error
        told = markup.sentence("The answers are in answers.csv.")
        return {self._download: str(path), self._status: told}

    def _show(self, session: Session, told: str, is_error: bool = False) -> Updates:
        """Shows all of a session anew."""
        return {
            self._state: session,
            self._shown: PAGE,
            self._status: markup.sentence(told, is_error),
            self._cards: markup.cards(session, PAGE),
            self._figure: markup.whole_image(session),
            self._table: markup.answer_table(session),
            self._sorting: gr.Dropdown(
                [_AS_THEY_CAME, *session.labels], value=session.sorted_by or _AS_THEY_CAME
            ),
            self._sidecars: gr.Button(interactive=session.can_write),
        }

    def _tell(self, problem: Exception | str) -> Updates:
        """Tells what is wrong; all else stays."""
        told = str(problem)
        if isinstance(problem, OSError):
            told = f"{problem.filename}: {problem.strerror}."
        return {self._status: markup.sentence(told, is_error=True)}


def _map_of(tagger: Tagger, path: Path, label: str) -> HeatMap | str:
    """Returns a heat map, or a sentence that says why there is none."""
    try:
        return heat_map(tagger, path, label)
    except InputError as error:
        return str(error)


def _told_of(session: Session) -> str:
    told = f"Shown: {session.names[session.chosen]}."
    if session.answers:
        told += f" Tags: {', '.join(session.tags(session.chosen)) or 'none'}."
    return told


def _about(taggers: Mapping[str, Tagger]) -> str:
    lines = [
        f"{name}: trained on {len(tagger.vocabulary.select(Role.SEEN)):,} labels"
        + (", takes any word" if tagger.encoder is not None else ", takes these alone")
        for name, tagger in taggers.items()
    ]
    return "".join(markup.sentence(line + ".") for line in lines)
