"""Finding out which layout a NUS-WIDE folder has."""

from pathlib import Path

from zsl.data.nuswide.csv_layouts import table_layout
from zsl.data.nuswide.layout import Layout
from zsl.data.nuswide.official_layout import OfficialLayout
from zsl.errors import InputError


def find_layout(root: Path, table: str | None) -> Layout:
    """Finds out which layout a folder has.

    Args:
        root: The folder.
        table: A CSV below it to take instead of the official files.

    Raises:
        InputError: The folder or the table is missing, or nothing of NUS-WIDE is in it.
    """
    if not root.is_dir():
        raise InputError(
            f"The data folder {root} does not exist; set root to the folder in which "
            "NUS-WIDE was unpacked."
        )
    if table is not None:
        return table_layout(root, root / table)
    official = OfficialLayout(root)
    if official.problem is None:
        return official
    tables = sorted(root.glob("*.csv"))
    chosen = next((path for path in tables if path.name == "data.csv"), None)
    if chosen is None and len(tables) == 1:
        chosen = tables[0]
    return table_layout(root, chosen) if chosen else official
