"""`python -m zsl.prepare shards --config ... --output FOLDER`: a data set as a few tar files."""

from __future__ import annotations

import shlex
from argparse import ArgumentParser
from pathlib import Path

from zsl.commands.configs import CONFIG_FLAGS, named_values
from zsl.commands.fit_cli import data_of
from zsl.commands.launch import add_devices, launch
from zsl.commands.messages import refuse_near
from zsl.data import Split
from zsl.data.write_shards import write_shards
from zsl.errors import program, require


def prepare_shards(args: list[str]) -> None:
    """Writes the data of these arguments of `zsl.fit` as shards."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--images_per_shard", type=int, default=10_000)
    add_devices(parser)
    options, rest = parser.parse_known_args(args)
    refuse_near(rest, ["output", "images_per_shard", "devices", "nodes", "accelerator"])
    require(options.output is not None, "--output is not set; name a folder for the shards.")
    group = launch(options)
    with group.first_goes_ahead():
        data = data_of(rest)
        data.check_images(list(Split))
    folder = options.output.expanduser().resolve()
    write_shards(data, folder, options.images_per_shard, group)
    if not group.is_first:
        return
    shards = list(folder.glob("*.tar"))
    size = sum(path.stat().st_size for path in shards) / 1e9
    arguments = [
        part for _, name in named_values(rest, *CONFIG_FLAGS) for part in ("--config", name)
    ]
    arguments += ["--data", "zsl.data.ShardsDataModule", "--data.root", str(folder)]
    print(
        f"Written to {folder}: {len(shards):,} shards, {size:.2f} GB.\n"
        f"With images, batch_size and so on as they were, the shards train to the same digits.\n"
        f"Next: {program('fit')} {shlex.join(arguments)} ..."
    )
