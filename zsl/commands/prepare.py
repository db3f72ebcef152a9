"""`python -m zsl.prepare table|nuswide|features|shards ...`: work done once, before training."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from zsl.commands.exit_codes import exit_code, loading
from zsl.commands.launch import add_devices, launch
from zsl.commands.messages import parse_args
from zsl.errors import did_you_mean, program, require
from zsl.files.atomic import atomic_path, write_atomically
from zsl.notes import remark

if TYPE_CHECKING:
    from zsl.data.nuswide.folders import Folders
    from zsl.data.nuswide.index import NUSWideIndex


_USAGE = """usage: {prepare} table    --root FOLDER [--tags FILE] ...
       {prepare} nuswide  --root FOLDER ...
       {prepare} features --config NAME.yaml --data.features FOLDER ...
       {prepare} shards   --config NAME.yaml --output FOLDER [--images_per_shard N] ...

table      Makes a table, a split, roles and a config for zsl.fit from your own photographs and
           whatever tells their tags ({prepare} table --help).
nuswide    Checks a copy of NUS-WIDE, reports on it, writes the index that zsl.fit uses
           ({prepare} nuswide --help).
features   Runs the frozen backbone of a config once and keeps its tokens in data.features; takes
           the arguments of zsl.fit, which then trains the head from there.
shards     Writes the images and labels of a config's data to tar files of N (10,000) images each,
           which zsl.data.ShardsDataModule reads; takes the arguments of zsl.fit too. After a stop
           it goes on where it was."""
_COMMANDS = ("table", "nuswide", "features", "shards")
_SHARED = ("image_folder", "table", "prepared")
"""Arguments that `zsl.fit` has too."""


def prepare(args: list[str]) -> None:
    """Runs the subcommand that the first argument names."""
    if not args or args[0] in ("-h", "--help"):
        print(_USAGE.format(prepare=program("prepare")))
        return
    what, *rest = args
    require(
        what in _COMMANDS,
        f"{program('prepare')} knows no {what!r}; expected {', '.join(_COMMANDS)}."
        + did_you_mean(what, _COMMANDS),
    )
    if what == "nuswide":
        prepare_nuswide(rest)
    elif what == "table":
        # Imported here, so that the help comes at once.
        from zsl.commands.prepare_table import prepare_table

        prepare_table(rest)
    elif {"-h", "--help"} & set(rest):
        print(_USAGE.format(prepare=program("prepare")))
    elif what == "features":
        with loading():
            from zsl.commands.prepare_features import prepare_features

        prepare_features(rest)
    else:
        with loading():
            from zsl.commands.prepare_shards import prepare_shards

        prepare_shards(rest)


def _parse_nuswide(args: list[str]) -> Namespace:
    parser = ArgumentParser(
        prog=program("prepare nuswide"),
        description="Check a copy of NUS-WIDE, report on it, write the index that zsl.fit uses.",
        exit_on_error=False,
    )
    parser.add_argument("--root", required=True, help="Folder in which it was unpacked.")
    for name in _SHARED:
        parser.add_argument(f"--{name}", type=str, help=f"As data.{name} of zsl.fit.")
    parser.add_argument(
        "--resize",
        type=int,
        help="Also write copies of the images, squashed to so many pixels a side.",
    )
    parser.add_argument(
        "--num_workers", type=int, help="Processes that each of --devices starts (default: cores)."
    )
    add_devices(parser)
    options = parse_args(parser, args, "root")
    require(
        options.resize is None or options.resize >= 1,
        f"--resize is {options.resize}; expected 1 or more.",
    )
    return options


def prepare_nuswide(args: list[str]) -> None:
    """Checks a copy of NUS-WIDE, prints what is in it, and writes its index."""
    options = _parse_nuswide(args)
    with loading():  # Here, so that the help comes at once.
        from zsl.data.nuswide import summary
        from zsl.data.nuswide.build_index import lost_path, open_index
        from zsl.data.nuswide.check_images import check_images, check_shrunken
        from zsl.data.nuswide.find_layout import find_layout
        from zsl.data.nuswide.folders import Folders

    group = launch(options)
    root = Path(options.root).expanduser().resolve()
    num_workers = options.num_workers or os.cpu_count() or 1
    if not group.is_first:
        with group.first_goes_ahead():
            folders = Folders.find(root, options.image_folder, options.prepared)
        check_images(folders, None, options.resize, num_workers, group)
        return
    layout = find_layout(root, options.table)
    print(f"NUS-WIDE in {root}: {layout.name}\n\n{summary.files_table(layout)}\n", flush=True)
    folders = Folders.find(root, options.image_folder, options.prepared)
    with group.first_goes_ahead():
        index = open_index(folders, options.table)
    checks = check_images(folders, index, options.resize, num_workers, group)
    # What was found in the images becomes part of the index.
    index = open_index(folders, options.table)
    if options.resize:
        # Images may have come while the others were read.
        check_shrunken(folders, index, options.resize)
    suspicious = summary.suspicious_files(checks)
    counts = summary.class_counts(index)
    with atomic_path(folders.prepared / "classes.csv") as path:
        counts.to_csv(path, index=False)
    write_atomically(folders.prepared / "suspicious.txt", "\n".join(suspicious).encode())
    print(f"\nImages in {folders.images}\n\n{summary.images_table(index, suspicious)}")
    print(f"\n{summary.labels_table(index, counts)}\n\n{summary.extremes(counts)}\n")
    for note in index.info["notes"]:
        remark(note)
    _print_advice(options, folders, index, lost_path(index.path), suspicious)


def _print_advice(
    options: Namespace, folders: Folders, index: NUSWideIndex, lost: Path, suspicious: list[str]
) -> None:
    """Prints what to do about missing and suspicious images, and how to train."""
    arguments = [
        f"--data.{name} {getattr(options, name)}" for name in _SHARED if getattr(options, name)
    ]
    if absent := index.info["unseen_without_column"]:
        remark(
            f"{len(absent)} published unseen labels are not labels of the table, the first "
            f"is {absent[0]}; correct their names there, or set data.unseen."
        )
    elif not index.unseen:
        remark("nothing tells which labels are unseen; set data.unseen.")
    if index.info["num_unlisted_files"]:
        remark(f"{index.info['num_unlisted_files']:,} image files are in no list.")
    if index.state.any():
        remark(
            f"{int((index.state != 0).sum()):,} listed images are missing or unreadable "
            f"({lost} names them); complete the copy, or leave them out with data.missing "
            "skip."
        )
        arguments.append("--data.missing skip")
    if suspicious:
        remark(
            f"{len(suspicious):,} images are of one colour or the same as many others "
            f"({folders.prepared / 'suspicious.txt'} names them), as Flickr's placeholders are; "
            "delete those that are placeholders and run this again."
        )
    if options.resize:
        arguments.append(f"--data.resized {options.resize}")
    size = index.path.stat().st_size / 1e6
    print(f"\nWritten to {folders.prepared}: the index ({size:.1f} MB), classes.csv, {lost.name}.")
    command = f"{program('fit')} --config nuswide.yaml --data.root {folders.root}"
    print(" ".join(["Next:", command, *arguments]))


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return exit_code(prepare, args)
