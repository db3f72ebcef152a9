"""What `zsl.prepare table` does: a table, a split, roles and a config from photographs and tags."""

from __future__ import annotations

import csv
import io
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from zsl.commands.table_config import config_text
from zsl.data.photographs.collection import (
    Photographs,
    match,
    showing,
    with_labels,
    with_looks,
    with_splits,
    without_untagged,
)
from zsl.data.photographs.labels import choose_roles, count_tags, count_telling
from zsl.data.photographs.sources import find_source
from zsl.data.split import Split
from zsl.errors import listing, others, program, require
from zsl.files.atomic import write_atomically
from zsl.files.digests import text_digest
from zsl.files.image_paths import find_images
from zsl.files.output_text import aligned
from zsl.labels.vocabulary import Role, Vocabulary
from zsl.notes import remark

_OUTPUTS = ("labels.csv", "classes.csv", "zsl.yaml")
_MARK = "# Written by python -m zsl.prepare table"
_SOURCE, _DIGESTS = "# Tags: ", "# As written: "
_SEPARATORS = ("|", ";", "\t", " || ")
_NUM_EXTREMES = 5
"""Most and least frequent labels that are named."""


def make_table(options: Namespace) -> None:
    """Reads tags in any form; writes a table, the classes and a config for `zsl.fit`.

    Args:
        options: Those of `zsl.prepare table`.

    Raises:
        InputError: They can't be used, or nothing tells the tags.
    """
    root = Path(options.root).expanduser().resolve()
    output = Path(options.output).expanduser().resolve() if options.output else root
    found = "is a file" if root.is_file() else "does not exist"
    require(root.is_dir(), f"The folder {root} {found}; name that of your photographs.")
    require(not output.exists() or output.is_dir(), f"--output {output} is a file; name a folder.")
    earlier = _own_outputs(output, options.overwrite)
    own = _OUTPUTS if earlier and output == root else _as_written(root)
    photographs, source = _read(options, root, own)
    name = source.partition(",")[0]
    require(
        earlier in (None, name) or options.overwrite or bool(options.tags or options.format),
        f"The tags would come from {name}, those of {output / _OUTPUTS[-1]} came from {earlier}; "
        "say which by --tags or --format, or add --overwrite true.",
    )
    print(f"Tags: {source}.", flush=True)
    if not options.keep_split:
        photographs = replace(photographs, splits=[])
    given = sorted(set(photographs.splits))
    classes = root / "classes.csv"
    if classes.is_file() and classes.name not in own and not options.unseen:
        options.classes = options.classes or str(classes)
    photographs = _labelled_and_divided(photographs, options)
    roles = _roles(options, photographs)
    for note in photographs.notes:
        remark(note)
    print(f"\n{_splits_table(photographs, roles)}\n\n{_frequencies(photographs)}\n")
    for note in _advice(photographs, roles, given):
        remark(note)
    _write_all(root, output, photographs, roles, name)
    print(f"\nWritten to {output}: {', '.join(_OUTPUTS)}.")
    config = os.path.relpath(output / _OUTPUTS[-1])
    config = str(output / _OUTPUTS[-1]) if config.startswith("..") else config
    print(f"Next: {program('fit')} --config {shlex.quote(config)}")


def _read(options: Namespace, root: Path, earlier: Sequence[str]) -> tuple[Photographs, str]:
    """Returns the tagged photographs that can be read, and where their tags come from."""
    files = [path.relative_to(root).as_posix() for path in find_images([str(root)])]
    table = Path(options.tags).expanduser() if options.tags else None
    found = find_source(
        root, files, table, options.format, options.separator, options.tags_column, earlier
    )
    photographs = without_untagged(match(found, files))
    num_workers = options.num_workers or os.cpu_count() or 1
    return with_looks(photographs, root, num_workers), found.source


def _labelled_and_divided(photographs: Photographs, options: Namespace) -> Photographs:
    photographs = with_labels(photographs, options.merge_spellings, options.min_images)
    return with_splits(photographs, options.val_fraction, options.test_fraction, options.seed)


def _roles(options: Namespace, photographs: Photographs) -> dict[str, Role]:
    """Returns the role of each label: from a class file, or as the options say."""
    labels = list(count_tags(photographs.tags))
    if options.classes is None:
        train = count_tags(photographs.in_split(Split.TRAIN))
        val, test = (count_telling(photographs.in_split(s)) for s in (Split.VAL, Split.TEST))
        return choose_roles(
            labels, options.unseen, options.held_out, train, val, test, options.seed
        )
    photographs.notes.append(f"roles are kept as they are in {options.classes}.")
    vocabulary = Vocabulary.from_table(options.classes)
    role_of = dict(zip(vocabulary.names, vocabulary.roles, strict=True))
    absent = [label for label in labels if label not in role_of]
    require(
        not absent,
        f"{options.classes} has no role for {absent[:1]}, a label of the images; add it there, or "
        "leave --classes out." + others(absent),
    )
    return {label: role_of[label] for label in labels}


def _splits_table(photographs: Photographs, roles: Mapping[str, Role]) -> str:
    """Images of each split, and how many of them show a label of each role."""
    parts = [photographs.in_split(split) for split in Split] + [photographs.tags]
    cells = [["", "labels", *Split, "all"]]
    cells.append(["images", "", *(f"{len(part):,}" for part in parts)])
    for role in Role:
        labels = [label for label, own in roles.items() if own is role]
        if labels:
            title = f"with a {role.replace('_', '-')} label".replace("a unseen", "an unseen")
            counts = [f"{showing(part, labels):,}" for part in parts]
            cells.append([title, f"{len(labels):,}", *counts])
    return aligned(cells, num_left=1)


def _frequencies(photographs: Photographs) -> str:
    """The most and the least frequent labels, with their images."""
    counts = [f"{tag} {count:,}" for tag, count in count_tags(photographs.tags).items()]
    if len(counts) <= 2 * _NUM_EXTREMES:
        return f"Images of each label: {', '.join(counts)}."
    most, least = counts[:_NUM_EXTREMES], counts[-_NUM_EXTREMES:]
    return (
        f"Images of each label: {', '.join(most)}, ..., {', '.join(least)} (classes.csv has all). "
        f"An image has {photographs.labels_per_image:.1f} labels."
    )


def _advice(
    photographs: Photographs, roles: Mapping[str, Role], given: Sequence[str]
) -> Iterable[str]:
    """Yields what a user should know before training."""
    train = photographs.in_split(Split.TRAIN)
    of_role = {role: [name for name, own in roles.items() if own is role] for role in Role}
    if given:
        yield f"splits are kept as they were ({', '.join(given)})" + (
            "." if len(given) == len(Split) else "; the others were drawn from train."
        )
    if straddling := photographs.straddling():
        yield (
            f"{len(straddling):,} validation and test images are nearly the same as a training "
            f"image, the first {photographs.files[straddling[0]]}: figures will be too high; "
            "--keep_split false draws the split anew."
        )
    if unseen := of_role[Role.UNSEEN]:
        yield (
            f"{showing(train, unseen):,} of {len(train):,} training images show an unseen label "
            f"({listing(unseen[:5])}). The labels are not trained, the images are, as in most work "
            "on multi-label zero-shot learning; --data.with_unseen drop leaves them out."
        )
    else:
        yield (
            "no label is unseen, so the test is about those that were held out; --unseen names "
            "some, or draws a share."
            if of_role[Role.HELD_OUT]
            else "all labels are trained, so no figure will say how well others are found."
        )
    if held_out := of_role[Role.HELD_OUT]:
        more = "" if of_role[Role.UNSEEN] else "; --held_out 0 trains all"
        yield f"held out to select the checkpoint: {listing(held_out)}{more}."
    if photographs.labels_per_image == 1 and not of_role[Role.UNSEEN]:
        yield (
            "each image has one label: if no other words will be asked, a classifier does better "
            "(table_fixed.yaml with --model.single_label true)."
        )
    in_train = count_tags(train)
    for split, role in ((Split.VAL, Role.HELD_OUT), (Split.TEST, Role.UNSEEN)):
        counts = count_tags(photographs.in_split(split))
        if absent := [name for name in of_role[role] if name not in counts]:
            yield f"{len(absent):,} {role} labels are on no {split} image: {listing(absent)}."
    if absent := [name for name in of_role[Role.SEEN] if name not in in_train]:
        yield f"{len(absent):,} seen labels are on no training image: {listing(absent)}."


def _write_all(
    root: Path, output: Path, photographs: Photographs, roles: Mapping[str, Role], source: str
) -> None:
    free = [sign for sign in _SEPARATORS if not any(sign in label for label in roles)]
    require(len(free) > 0, f"Tags hold each of {listing(_SEPARATORS)}; take one of these out.")
    labels = map(free[0].join, photographs.tags)
    rows = zip(photographs.files, labels, photographs.splits, strict=True)
    _write(output / "labels.csv", [("image", "labels", "split"), *rows])
    counts = count_tags(photographs.tags)
    classes = [(name, role.value, counts[name]) for name, role in roles.items()]
    _write(output / "classes.csv", [("name", "role", "images"), *classes])
    num_train = len(photographs.in_split(Split.TRAIN))
    side, roles_there = photographs.median_side, set(roles.values())
    text = config_text(
        root, output, free[0], roles_there, num_train, side, photographs.labels_per_image
    )
    tables = (_digest((output / name).read_text(encoding="utf-8")) for name in _OUTPUTS[:2])
    digests = " ".join((*tables, _digest(text)))
    header = f"{_MARK}; yours to change.\n{_SOURCE}{source}\n{_DIGESTS}{digests}\n"
    write_atomically(output / _OUTPUTS[-1], f"{header}{text}".encode())


def _digest(text: str) -> str:
    return text_digest([text])[:16]


def _write(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_atomically(path, text.getvalue().encode())


def _earlier_run(folder: Path) -> tuple[str, list[str]] | None:
    """Returns what an earlier run read the tags from, and which of its files were changed since.

    None where there is no config of such a run.
    """
    there = [name for name in _OUTPUTS if (folder / name).is_file()]
    texts = [(folder / name).read_text("utf-8", errors="replace") for name in there]
    header = texts[-1].split("\n", 3) if texts else []
    if there[-1:] != [_OUTPUTS[-1]] or len(header) < 4 or not header[0].startswith(_MARK):
        return None
    written = dict(zip(_OUTPUTS, header[2].removeprefix(_DIGESTS).split(), strict=False))
    now = dict(zip(there, map(_digest, (*texts[:-1], header[3])), strict=True))
    changed = [name for name in there if now[name] != written.get(name)]
    return header[1].removeprefix(_SOURCE), changed


def _as_written(folder: Path) -> list[str]:
    """Names of the files that an earlier run wrote and nobody changed: they are no source."""
    run = _earlier_run(folder)
    return [name for name in _OUTPUTS if run is not None and name not in run[1]]


def _own_outputs(output: Path, overwrite: bool) -> str | None:
    """Returns what an earlier run in the output read the tags from; None where there was none.

    Refuses to overwrite anybody else's files, and what was changed since.
    """
    run = _earlier_run(output)
    if run is None:
        there = [name for name in _OUTPUTS if (output / name).exists()]
        require(
            not there,
            f"{output} has {listing(there)} already, which this would overwrite; name another "
            "folder with --output.",
        )
        return None
    source, changed = run
    require(
        overwrite or not changed,
        f"{output} has {listing(changed)}, changed since it was written, which this would "
        "overwrite; name another folder with --output, or add --overwrite true (roles are kept by "
        "--classes FILE).",
    )
    return source
