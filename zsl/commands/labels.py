"""Shows how the labels of a config are embedded and which seen labels are near to the others."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from shutil import get_terminal_size
from typing import TYPE_CHECKING

from zsl.commands.exit_codes import exit_code, loading
from zsl.commands.messages import refuse_near
from zsl.errors import printable, program, require, shorten
from zsl.files.output_text import aligned

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from zsl.labels import LabelEncoder, Vocabulary

HELP = """usage: {program} --config NAME.yaml [--SECTION.ARGUMENT V ...] [--output DIR]

Prints the labels of a config, what the vector of each is made of, and for each held-out and
unseen label the nearest seen ones; writes labels.csv and labels.png to DIR (default:
runs/labels). Configs and arguments are those of zsl.fit."""


def report(args: list[str]) -> None:
    """Prints and draws the labels of a config."""
    if not args or "-h" in args or "--help" in args:
        print(HELP.format(program=program("labels")))
        return
    parser = ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--output", default="runs/labels")
    options, rest = parser.parse_known_args(args)
    refuse_near(rest, ["output"])
    with loading():  # Here, so that the help comes at once.
        from pathlib import Path

        from zsl.commands.fit_cli import labels_of
        from zsl.evaluation import charts
        from zsl.files.atomic import atomic_path

    vocabulary, encoder = labels_of(rest)
    labels, vectors = describe(vocabulary, encoder)
    print(label_listing(labels))
    folder = Path(options.output)
    with atomic_path(folder / "labels.csv") as path:
        labels.to_csv(path, index=False, float_format="%.4f")
    charts.save_chart(folder / "labels.png", lambda: charts.label_space(labels, vectors))
    recipe = {name: value for name, value in encoder.recipe.items() if value is not None}
    print(f"\n{vocabulary!r}, vectors of {vectors.shape[1]} numbers")
    print(printable(", ".join(f"{name}: {value}" for name, value in recipe.items())))
    print(f"Written: {folder / 'labels.csv'}, {folder / 'labels.png'}")


def describe(vocabulary: Vocabulary, encoder: LabelEncoder) -> tuple[pd.DataFrame, torch.Tensor]:
    """Embeds the labels of a vocabulary and compares them.

    Returns:
        A row for each label, by role, with the columns `name`, `role`, `made_of`, `nearest`
        (names of the nearest seen labels, by cosine) and `cosine` (of the nearest); and the
        vectors (L, W) in that order.
    """
    import pandas as pd

    from zsl.labels import Role
    from zsl.labels.neighbours import nearest_seen

    names = vocabulary.names
    vectors = encoder.encode(names)
    num_seen = len(vocabulary.select(Role.SEEN))
    require(num_seen > 0, "No label is seen, so none can be near to one; give some the role seen.")
    nearest, cosine = nearest_seen(names, vectors, num_seen)
    labels = pd.DataFrame(
        {
            "name": names,
            "role": [role.value for role in vocabulary.roles],
            "made_of": encoder.origins(names),
            "nearest": nearest,
            "cosine": cosine,
        }
    )
    return labels, vectors


def label_listing(labels: pd.DataFrame) -> str:
    """The labels as text, each with what it is made of, those not seen above their neighbours.

    What they are made of is cut to the width of the terminal, but not below 20 characters.

    Args:
        labels: What `describe` returned.
    """
    width = max(get_terminal_size().columns - int(labels["name"].str.len().max()) - 4, 20)
    made_of = [shorten(text, width - 3) for text in labels["made_of"]]
    cells = list(zip(labels["name"], made_of, strict=True))
    shown = labels.assign(line=aligned(cells, num_left=2).splitlines())
    lines: list[str] = []
    for role in dict.fromkeys(map(str, labels["role"])):
        own = shown[shown["role"] == role]
        title = f"\n{len(own)} {role.replace('_', '-')} labels"
        if role == "seen":
            lines += [title, *("  " + own["line"])]
        else:
            own = own.sort_values("cosine", ascending=False)
            lines.append(f"{title}, each above its nearest seen ones")
            for line, nearest in zip(own["line"], own["nearest"], strict=True):
                lines += [f"  {line}", f"      {printable(nearest)}"]
    return "\n".join(lines).strip()


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return exit_code(report, args)
