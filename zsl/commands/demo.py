"""`python -m zsl.demo --checkpoint FILE`: a local page on which any words are asked of images."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from zsl.commands.exit_codes import add_trust_code, exit_code, loading
from zsl.commands.messages import parse_args
from zsl.errors import program, require


def parse(args: list[str]) -> Namespace:
    """Reads the command line."""
    parser = ArgumentParser(
        prog=program("demo"),
        description="Serve a page on this machine that tags images with any words.",
        exit_on_error=False,
    )
    parser.add_argument(
        "--checkpoint",
        nargs="+",
        default=["ready"],
        help="A .ckpt file of zsl.fit, or a folder or hub repository of Tagger.save_pretrained; "
        "two to compare them (default: ready, made from ImageNet's classes without any training).",
    )
    parser.add_argument(
        "--folder",
        nargs="+",
        default=[],
        help="Folders whose images the page may open, at any depth, and beside whose images it "
        "may write sidecars (default: none; images are dropped on the page).",
    )
    parser.add_argument(
        "--index",
        type=str | None,
        help="Folder that keeps what the checkpoints make of images of folders, so that each is "
        "read once and up to 100,000 can be open (default: memory, 2,000 images).",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="Address to serve at. With another than the default, whoever reaches it may use the "
        "page; it then writes no sidecars.",
    )
    parser.add_argument("--port", type=int, default=7860, help="Port; 0 takes a free one.")
    add_trust_code(parser)
    return parse_args(parser, args, "folder")


def demo(args: list[str]) -> None:
    """Serves the page; whatever can be refused is refused before a checkpoint is read."""
    options = parse(args)
    require(
        find_spec("gradio") is not None,
        "The page needs Gradio, which is not installed: pip install gradio.",
    )
    require(
        len(options.checkpoint) <= 2,
        f"--checkpoint names {len(options.checkpoint)} checkpoints; expected one, or two to "
        "compare.",
    )
    roots = [_root(folder) for folder in options.folder]
    index = None if options.index is None else Path(options.index).expanduser().resolve()
    require(
        index is None or index.is_dir() or not index.exists(),
        f"--index {index} is a file; name a folder.",
    )
    with loading():  # Here, so that the help comes at once.
        import torch

        from zsl.demo_page.server import is_loopback, open_socket, serve
        from zsl.inference.tagger import Tagger

    with open_socket(options.host, options.port) as at:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        with loading("the tagger"):
            taggers = {
                name: Tagger.from_pretrained(path, options.trust_code).to(device)
                for name, path in named(options.checkpoint).items()
            }
        if not is_loopback(options.host):
            print(f"Whoever reaches {options.host} may use the page and see its folders.")
        serve(taggers, roots, options.host, at, index)


def _root(folder: str) -> Path:
    path = Path(folder).expanduser()
    require(
        path.is_dir(),
        f"The folder {path} does not exist; expected one with images for --folder.",
    )
    return path.resolve()


def named(checkpoints: Sequence[str]) -> dict[str, str]:
    """Gives checkpoints short names: their runs, with a letter where there are two.

    >>> named(["runs/table/version_0/checkpoints/best.ckpt"])
    {'table/version_0': 'runs/table/version_0/checkpoints/best.ckpt'}
    """
    names = [_run_of(Path(checkpoint)) for checkpoint in checkpoints]
    if len(names) > 1:
        names = [f"{letter}: {name}" for letter, name in zip("AB", names, strict=True)]
    return dict(zip(names, checkpoints, strict=True))


def _run_of(checkpoint: Path) -> str:
    parts = checkpoint.absolute().parts
    is_run = checkpoint.suffix == ".ckpt" and len(parts) > 4 and parts[-2] == "checkpoints"
    return "/".join(parts[-4:-2]) if is_run else checkpoint.name


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return exit_code(demo, args)
