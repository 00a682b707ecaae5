"""The package's version."""

from __future__ import annotations

from importlib import metadata


def package_version() -> str:
    """Of the installed package; "0" when it runs from a source tree."""
    try:
        return metadata.version("shardline")
    except metadata.PackageNotFoundError:
        return "0"
