"""The parts of the page that are not widgets: images as cards, answers as a table, heat maps.

Images are written into the page (`data:`), so that no file is served and none has an address.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import lru_cache
from html import escape
from io import BytesIO
from pathlib import Path

from PIL import Image

from zsl.demo_page.answers import HeatMap, ImageAnswers
from zsl.demo_page.session import Session
from zsl.errors import InputError
from zsl.files.images import read_pixels

_THUMBNAIL = 240
_LARGE = 896
MAX_ROWS = 30
"""Labels in the table of an image; the CSV has all."""


def data_address(image: Image.Image) -> str:
    """Returns an image as JPEG in an address that holds it whole."""
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


@lru_cache(maxsize=2000)
def _thumbnail(path: Path) -> str:
    return _shrunken(path, _THUMBNAIL)


def _shrunken(path: Path, side: int) -> str:
    try:
        image = Image.fromarray(read_pixels(path, side))
    except InputError:  # It was there when it was opened.
        return ""
    image.thumbnail((side, side))
    return data_address(image)


def cards(session: Session, count: int) -> str:
    """Returns the first images as a list of buttons, each with its tags."""
    order = session.order()
    items = "".join(_card(session, image) for image in order[:count])
    rest = len(order) - count
    more = f'<button type="button" data-more="1">Show more ({rest:,} left)</button>'
    return f'<ol class="cards">{items}</ol>' + (more if rest > 0 else "")


def _card(session: Session, image: int) -> str:
    name = session.names[image]
    tags = ", ".join(session.tags(image)) if session.answers else ""
    alt = f"{name}, tags: {tags or 'none'}" if session.answers else name
    current = ' aria-current="true"' if image == session.chosen else ""
    return (
        f'<li><button type="button" data-image="{image}"{current}>'
        f'<img src="{_thumbnail(session.paths[image])}" alt="{escape(alt)}">'
        f'<span class="name" aria-hidden="true">{escape(name)}</span>'
        f"{_score_of_sorting(session, image)}"
        f'<span class="tags" aria-hidden="true">{escape(tags)}</span></button></li>'
    )


def _score_of_sorting(session: Session, image: int) -> str:
    if session.sorted_by is None:
        return ""
    answers = session.answers[session.main]
    label = session.labels.index(session.sorted_by)
    decision = _yes_or_no(answers, image, label)
    score = answers.scores[image, label]
    return (
        f'<span class="score {decision}">{decision} to {escape(session.sorted_by)}: {score:.2f}'
        "</span>"
    )


def answer_table(session: Session) -> str:
    """Returns the answers for the chosen image: a row a label, the columns of each checkpoint."""
    if not session.answers:
        return ""
    image = session.chosen
    main = session.answers[session.main]
    best = main.best_labels(image)
    rows = "".join(_row(session, image, label) for label in best[:MAX_ROWS])
    names = list(session.answers) if len(session.answers) > 1 else ["Probability"]
    columns = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    cut = f", the best {MAX_ROWS} of {len(best):,}" if len(best) > MAX_ROWS else ""
    return (
        f"<h2>{escape(session.names[image])}</h2>"
        f"{_unlike(session)}{_differences(session)}"
        f'<div class="scrolled"><table class="answers"><caption>Answers, the most probable first'
        f'{cut}. A word shows its heat map.</caption><thead><tr><th scope="col">Word</th>'
        f'{columns}<th scope="col">Tag</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _row(session: Session, image: int, label: int) -> str:
    main = session.answers[session.main]
    name = escape(main.labels[label])
    cells = "".join(_cell(answers, image, label) for answers in session.answers.values())
    checked = " checked" if session.is_accepted(image, label) else ""
    return (
        f'<tr><th scope="row"><button type="button" data-label="{name}" aria-pressed="false">'
        f'{name}</button><span class="why">{escape(main.reasons[label])}</span></th>{cells}'
        f'<td><input type="checkbox" data-tag="{name}" aria-label="Tag {name}"{checked}></td></tr>'
    )


def _cell(answers: ImageAnswers, image: int, label: int) -> str:
    score, threshold = float(answers.scores[image, label]), float(answers.thresholds[label])
    decision = _yes_or_no(answers, image, label)
    has_threshold = threshold == threshold
    text = "no threshold known"
    if has_threshold:
        text = f"yes from {threshold:.2f}" if threshold <= 1 else "never yes"
    mark = f'<i style="left:{100 * threshold:.1f}%"></i>' if threshold <= 1 else ""
    bar = f'<b style="width:{100 * score:.1f}%"></b>{mark}'
    bar = f'<span class="bar" aria-hidden="true">{bar}</span>' if 0 <= score <= 1 else ""
    return (
        f'<td class="probability">{score:.2f} <span class="{decision}">{decision}</span>{bar}'
        f'<span class="why">{text}</span></td>'
    )


def _yes_or_no(answers: ImageAnswers, image: int, label: int) -> str:
    return "yes" if answers.decisions[image, label] else "no"


def _unlike(session: Session) -> str:
    told = [name for name, found in session.answers.items() if found.are_unlike[session.chosen]]
    if not told:
        return ""
    text = "This image is unlike those of the training, so no word is a yes"
    return f'<p class="note">{escape(text + _for(session, told))}.</p>'


def _for(session: Session, names: Sequence[str]) -> str:
    """Names checkpoints where there is more than one to mean."""
    return f" ({', '.join(names)})" if len(session.answers) > 1 else ""


def _differences(session: Session) -> str:
    if len(session.answers) < 2:
        return ""
    first, second = (answers.decisions[session.chosen] for answers in session.answers.values())
    differ = [session.labels[label] for label in (first != second).nonzero()[0]]
    told = ", ".join(differ) if differ else "no word"
    return f"<p>The checkpoints differ on: {escape(told)}.</p>"


def figures(session: Session, label: str, maps: Sequence[tuple[str, HeatMap | str]]) -> str:
    """Returns the heat maps of a label over the chosen image, or why there is none.

    Args:
        session: Has the image.
        label: The label.
        maps: For each checkpoint its name, and the map or a sentence.
    """
    name = session.names[session.chosen]
    shown: list[str] = []
    for checkpoint, found in maps:
        by = f" ({checkpoint})" if len(maps) > 1 else ""
        if isinstance(found, str):
            shown.append(f"<p>{escape(found)}</p>")
            continue
        alt = f"{name}, bright where it speaks for {label}{by}: most {found.position}"
        caption = f"What speaks for “{label}”{by}: most {found.position}"
        shown.append(_figure(data_address(found.image), alt, caption))
    return f'<div class="maps">{"".join(shown)}</div>'


def whole_image(session: Session) -> str:
    """Returns the chosen image without a heat map."""
    if not session.paths:
        return ""
    name = session.names[session.chosen]
    tags = ", ".join(session.tags(session.chosen)) if session.answers else ""
    address = _shrunken(session.paths[session.chosen], _LARGE)
    return _figure(address, f"{name}, tags: {tags or 'none'}", "")


def _figure(address: str, alt: str, caption: str) -> str:
    told = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure><img src="{address}" alt="{escape(alt)}">{told}</figure>'


def sentence(text: str, is_error: bool = False) -> str:
    """Returns a sentence for the line that tells what happened."""
    return f'<p class="{"error" if is_error else "told"}">{escape(text)}</p>'
