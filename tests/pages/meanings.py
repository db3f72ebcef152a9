"""The words of a command line of the pages, in which nothing is left to the reader."""

from __future__ import annotations

import re
import shlex

MEANINGS = {
    # Placeholders of synopses.
    "zsl NAME": "zsl fit",
    "zsl.NAME": "zsl.fit",
    "--root FOLDER --tags FILE": "--root photos --tags photos/tags.csv",
    "nuswide --root FOLDER": "nuswide --root /data/nus-wide",
    "NAME.yaml --data.features FOLDER": "table.yaml --config data/features.yaml "
    "--data.features store",
    "shards --config NAME.yaml --output FOLDER": "shards --config table.yaml --output shards",
    "NAME.yaml --config ...": "table.yaml --data.root photos --config data/features.yaml",
    "--model.X V --data.X V": "--model.augmentation.noise 0.2 --data.batch_size 8",
    "--trainer.X V": "--trainer.log_every_n_steps 1",
    "FILE.pth --config NAME.yaml arguments of zsl.fit": "tresnet.pth "
    "--config coco_tresnet_l_448.yaml --data.root /data/coco",
    "sweeps/NAME.yaml --processes N": "sweeps/query_augmentation.yaml --config table.yaml",
    "arguments of zsl.fit": "--data.root photos",
    "--config NAME.yaml": "--config shapes.yaml",
    "--config ...": "--config shapes.yaml",
    "--data.root ...": "--data.root photos",
    "--checkpoint ...": "--checkpoint best.ckpt",
    "--checkpoint FILE ANOTHER": "--checkpoint best.ckpt another.ckpt",
    "--checkpoint FILE": "--checkpoint best.ckpt",
    ".ckpt ...": ".ckpt",
    "CHECKPOINTS": "best.ckpt",
    "--index FOLDER": "--index album",
    "--heatmaps FOLDER": "--heatmaps maps",
    "PATHS": "photos/",
    "IMAGES": "photos/",
    "PHOTOS": "photos",
    "features|shards": "features",
    "$resume": "",
    # What prose leaves out.
    "predict --decide": 'predict --checkpoint best.ckpt photos/ --labels "dog, beach" --decide',
    'predict --labels "dog, zebra"': 'predict --checkpoint best.ckpt photos/ --labels "dog, zebra"',
    "search --compact": "search --checkpoint best.ckpt --index album photos/ --labels a --compact",
    "evaluate --ties": "evaluate --checkpoint best.ckpt --ties",
    "evaluate --protocol": "evaluate --checkpoint best.ckpt --protocol",
    "export.py --photos": "export.py --checkpoint best.ckpt --photos photos",
}
"""What stands for something else in command lines, and what it stands for here."""


def synopsis_taken(line: str) -> str:
    """Takes what is optional in a synopsis.

    >>> synopsis_taken("zsl demo [--checkpoint FILE [ANOTHER]] [--folder PHOTOS]")
    'zsl demo --checkpoint FILE ANOTHER --folder PHOTOS'
    """
    return re.sub(r"(?<= )\[|\]+(?= |$)", "", line)


def with_meanings(line: str) -> str:
    """Leaves nothing of a line to the reader.

    >>> with_meanings("zsl predict [--checkpoint FILE] PATHS [--decide f1]")
    'zsl predict --checkpoint best.ckpt photos/ --decide f1'
    """
    line = synopsis_taken(line)
    for text, meaning in MEANINGS.items():
        line = line.replace(text, meaning)
    return line


def words_of_zsl(line: str) -> list[str]:
    """Name and arguments of a command of zsl, whoever starts it; none of another command.

    One that is only named is asked for its help.

    >>> words_of_zsl("srun --nodes 2 python -m zsl.fit --config shapes.yaml")
    ['fit', '--config', 'shapes.yaml']
    >>> words_of_zsl("zsl prepare features ...")
    ['prepare', 'features', '--help']
    """
    match = re.match(r"zsl (.+)|(?:.* )?-m zsl\.(.+)", with_meanings(line))
    if not match:
        return []
    words = shlex.split((match[1] or match[2]).removesuffix(" ..."))
    is_named = len(words) == 1 or (words[0] == "prepare" and len(words) == 2)
    return [*words, "--help"] if is_named else words
