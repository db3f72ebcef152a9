"""The version of this package, and those of the packages that results depend on."""

import platform
from importlib.metadata import version
from importlib.util import find_spec

__version__ = "0.2.0"


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    packages = ["torch", "pytorch-lightning", "timm", "sentence-transformers", "torchmetrics"]
    if find_spec("open_clip"):
        packages.append("open_clip_torch")
    own = {"python": platform.python_version(), "zsl": __version__}
    return own | {name: version(name) for name in packages}
