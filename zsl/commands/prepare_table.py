"""`python -m zsl.prepare table`: split, roles and config from what people have of photographs."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from zsl.commands.exit_codes import loading
from zsl.commands.messages import parse_args
from zsl.errors import program, require


def prepare_table(args: list[str]) -> None:
    """Reads tags in any form; writes a table, the classes and a config for `zsl.fit`."""
    options = parse(args)
    with loading():  # Here, so that the help comes at once.
        from zsl.commands.make_table import make_table

    make_table(options)


def parse(args: list[str]) -> Namespace:
    """Reads the command line."""
    parser = ArgumentParser(
        prog=program("prepare table"),
        description="Make a table, roles and a config from photographs and their tags: a CSV, "
        "Parquet or JSON lines, a folder for each tag, or keywords inside the photographs.",
        exit_on_error=False,
    )
    parser.add_argument("--root", required=True, help="Folder of the photographs.")
    parser.add_argument("--tags", type=str, help="Table of tags; by default one in the folder.")
    parser.add_argument(
        "--format", type=str, help="table, folders or keywords; by default what there is."
    )
    parser.add_argument("--separator", type=str, help="Sign between tags; by default it is found.")
    parser.add_argument("--tags_column", type=str, help="Column of tags; by default it is found.")
    parser.add_argument("--classes", type=str, help="CSV with name and role of each label.")
    parser.add_argument(
        "--unseen",
        type=str,
        default="",
        help="Labels met in the test only: names with commas, or a share such as 0.2 to draw.",
    )
    parser.add_argument(
        "--held_out",
        type=str,
        help="Labels to select the checkpoint on, not trained: names, or a share; 0 trains "
        "all, where none is unseen "
        "(default: a tenth, where labels have enough images).",
    )
    parser.add_argument(
        "--keep_split", type=bool, default=True, help="Keep a split that is there (default: true)."
    )
    parser.add_argument("--val_fraction", type=float, default=0.15, help="Share of images.")
    parser.add_argument("--test_fraction", type=float, default=0.15, help="Share of images.")
    parser.add_argument("--min_images", type=int, default=5, help="A label has so many or more.")
    parser.add_argument(
        "--merge_spellings",
        type=bool,
        default=True,
        help="Merge tags that differ in case, spaces or hyphens (default: true).",
    )
    parser.add_argument("--output", type=str, help="Folder to write to; by default --root.")
    parser.add_argument(
        "--overwrite",
        type=bool,
        default=False,
        help="Write over what was changed since an earlier run (default: false).",
    )
    parser.add_argument("--seed", type=int, default=0, help="Seed of the draws.")
    parser.add_argument("--num_workers", type=int, help="Threads (default: one per core).")
    options = parse_args(parser, args, "root")
    from zsl.data.photographs.sources import FORMATS

    require(
        options.format in (None, *FORMATS),
        f"--format is {options.format!r}; expected {', '.join(FORMATS)}.",
    )
    return options
