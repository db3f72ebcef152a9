"""How the labels of a config are embedded, and how near the unseen ones are to seen ones."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from typing import TYPE_CHECKING

from zsl.commands.exit_codes import exit_code
from zsl.errors import require

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from zsl.labels import LabelEncoder, Vocabulary

HELP = """usage: python -m zsl.labels --config NAME.yaml [--SECTION.ARGUMENT V ...] [--output DIR]

Prints the labels of a config, what the vector of each is made of, and for each held-out and
unseen label its nearest seen ones; writes labels.csv and labels.png to DIR (default: labels).
Configs and arguments are those of zsl.fit."""


def report(args: list[str]) -> None:
    """Makes the data and the label encoder of a config; prints and draws the labels."""
    if not args or "-h" in args or "--help" in args:
        print(HELP)
        return
    # Imported here, so that the help comes at once.
    from pathlib import Path

    from zsl.commands.fit_cli import labels_of
    from zsl.evaluation import charts
    from zsl.files.atomic import atomic_path

    parser = ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--output", default="labels")
    options, rest = parser.parse_known_args(args)
    vocabulary, encoder = labels_of(rest)
    labels, vectors = describe(vocabulary, encoder)
    print(table(labels))
    folder = Path(options.output)
    with atomic_path(folder / "labels.csv") as path:
        labels.to_csv(path, index=False, float_format="%.4f")
    with atomic_path(folder / "labels.png") as path:
        charts.label_space(labels, vectors).savefig(path, dpi=110)
    recipe = {name: value for name, value in encoder.recipe.items() if value is not None}
    print(f"\n{vocabulary!r}, vectors of {vectors.shape[1]} numbers")
    print(", ".join(f"{name}: {value}" for name, value in recipe.items()))
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

    names = vocabulary.select(*Role)
    vectors = encoder.encode(names)
    num_seen = len(vocabulary.select(Role.SEEN))
    require(num_seen > 0, "No label is seen, so none can be near to one; give some the role seen.")
    nearest, cosine = nearest_seen(names, vectors, num_seen)
    roles = [role.value for role in Role for _ in vocabulary.select(role)]
    labels = pd.DataFrame(
        {
            "name": names,
            "role": roles,
            "made_of": encoder.origins(names),
            "nearest": nearest,
            "cosine": cosine,
        }
    )
    return labels, vectors


def table(labels: pd.DataFrame) -> str:
    """The labels as text: seen ones with what they are made of, others with their neighbours."""
    width = min(30, max(len(name) for name in labels["name"]))
    made = min(40, max(len(text) for text in labels["made_of"]))
    lines = []
    for role, group in labels.groupby("role", sort=False):
        ordered = group if role == "seen" else group.sort_values("cosine", ascending=False)
        lines.append(f"\n{len(group)} {role} labels" + ("" if role == "seen" else ", nearest seen"))
        for row in ordered.itertuples():
            tail = "" if role == "seen" else f"  {row.nearest}"
            lines.append(f"  {row.name:<{width}}  {row.made_of:<{made}}{tail}".rstrip())
    return "\n".join(lines).strip()


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return exit_code(report, args)
