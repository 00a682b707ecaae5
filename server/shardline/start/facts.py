"""On what it depends whether an earlier start's findings still hold."""

from __future__ import annotations

import hashlib
from importlib import metadata

import torch

from shardline.version import package_version


def device_facts(device: torch.device) -> dict[str, object]:
    """The card, its driver, and the libraries that drive it."""
    properties = torch.cuda.get_device_properties(device)
    return {
        "gpu": properties.name,
        "capability": [properties.major, properties.minor],
        "multiprocessors": properties.multi_processor_count,
        "memory_bytes": properties.total_memory,
        "driver": driver_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "triton": _version("triton"),
        "shardline": package_version(),
    }


def driver_version() -> str | None:
    """The kernel module's line about itself."""
    try:
        with open("/proc/driver/nvidia/version", encoding="utf-8", errors="replace") as file:
            return file.readline().strip()
    except OSError:
        return None


def digest(value: object) -> str:
    """Of a value whose `repr` tells all there is of it."""
    return hashlib.sha256(repr(value).encode()).hexdigest()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
