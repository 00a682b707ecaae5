"""The package's version."""

from __future__ import annotations

import platform
from importlib import metadata


def package_version() -> str:
    """Of the installed package; "0" when it runs from a source tree."""
    try:
        return metadata.version("shardline")
    except metadata.PackageNotFoundError:
        return "0"


def versions() -> str:
    """Of the package and of what a report of a defect should name; nothing is imported for it."""
    parts = [f"Python {platform.python_version()}"]
    for name in ("torch", "triton", "transformers", "huggingface_hub"):
        try:
            parts.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            parts.append(f"no {name}")
    return f"{package_version()} ({', '.join(parts)})"
