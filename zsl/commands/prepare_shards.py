"""`python -m zsl.prepare shards --config ... --output FOLDER`: a data set as a few tar files."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from zsl.commands.fit_cli import data_of
from zsl.data import Split
from zsl.data.write_shards import write_shards


def prepare_shards(args: list[str]) -> None:
    """Writes the data of these arguments of `zsl.fit` as shards."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--images_per_shard", type=int, default=10_000)
    options, rest = parser.parse_known_args(args)
    data = data_of(rest)
    data.check_images(list(Split))
    folder = options.output.expanduser().resolve()
    write_shards(data, folder, options.images_per_shard)
    shards = list(folder.glob("*.tar"))
    size = sum(path.stat().st_size for path in shards) / 1e9
    print(
        f"Written to {folder}: {len(shards):,} shards, {size:.2f} GB.\nNext: python -m zsl.fit "
        "with the same arguments, but for those of data: --data zsl.data.ShardsDataModule "
        f"--data.root {folder}, and images, batch_size and the like as they were."
    )
