"""Help of `zsl.fit`: a page that comes at once, and a long one from the parser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zsl.commands.configs import shipped_configs, shipped_names
from zsl.errors import program

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

USAGE = "%(prog)s --config NAME.yaml [--config ...] [--SECTION.ARGUMENT VALUE ...]"
_PAGE = """usage: {usage}

Trains a tagger, tests its best checkpoint, and writes everything to runs/NAME/VERSION.

configs, looked for in the working directory, then among the shipped ones:
{configs}

often used:
  --print_config            Print the resulting config with all defaults, and stop.
  --ckpt_path FILE          Resume the run of this checkpoint; last: the newest of this NAME.
  --seed_everything N       Seed of all random draws (default: 0).
  --trainer.max_epochs N    Passes over the training images; 0 keeps the model as it was made.
  --compile true            Compiles the training step: minutes at the start, then faster.
  --last_checkpoint.minutes N  Time between two saves of last.ckpt in mid-epoch (default: 10).

every argument, with its type, default and explanation:
  --help_all                All of --data, --model, --trainer and --checkpoint; those of --model
                            are of the task that a --config beside it names.
  --data.help CLASS         Those of one class: here of data, e.g. --data.help TableDataModule.
  --model.head.help CLASS   Of a head, e.g. --model.head.help MLDecoderConfig; there are also
                            --model.encoder.help, --model.backbone.help, --model.loss.help and
                            --trainer.callbacks.help."""


def fit_help() -> str:
    """The first page, without the seconds that importing torch takes."""
    lines = []
    for name in shipped_names():
        first_line = (shipped_configs() / name).read_text(encoding="utf-8").splitlines()[0]
        lines.append(f"  {name:<26}{first_line.lstrip('# ')}")
    return _PAGE.format(usage=USAGE % {"prog": program("fit")}, configs="\n".join(lines))


def all_arguments(parser: ArgumentParser) -> str:
    """The parser's help, and that of each class that data and parts of the model can be.

    Args:
        parser: The parser of `zsl.fit`.
    """
    from inspect import isabstract
    from typing import get_type_hints

    from jsonargparse import ArgumentParser

    from zsl.data import MultiLabelDataModule
    from zsl.files.class_paths import class_path
    from zsl.tasks import ClassificationTask, ZeroShotTask

    bases = [("data", MultiLabelDataModule)]
    for task in (ZeroShotTask, ClassificationTask):
        hints = get_type_hints(task.__init__).items()
        bases += [(f"model.{name}", kind) for name, kind in hints if isabstract(kind)]
    text = parser.format_help()
    for key, base in dict.fromkeys(bases):
        for kind in base.__subclasses__():
            own = ArgumentParser(usage="", add_help=False)
            own.add_class_arguments(kind, key)
            text += f"\n--{key} {class_path(kind)}" + own.format_help().partition("usage:")[2]
    return text
