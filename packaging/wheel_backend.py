"""The build backend (PEP 517) of the wheel: cargo builds the programs, maturin does the rest.

A wheel of maturin holds either a Python extension or Rust programs. Ours holds both: the programs
are built first and put where `[tool.maturin] data` points, whose `scripts` folder becomes commands.
So `pip install .`, `pip wheel .` and `make build` all give the same complete wheel.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import maturin
from maturin import (
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_wheel",
]

PROGRAMS = ("shardline-launcher", "shardline-router")
SCRIPTS = Path("build/wheel-data/scripts")


def build_wheel(
    wheel_directory: str,
    config_settings: Mapping[str, Any] | None = None,
    metadata_directory: str | None = None,
) -> str:
    """Builds the wheel into `wheel_directory` and returns its file name."""
    stage_programs()
    return maturin.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(
    wheel_directory: str,
    config_settings: Mapping[str, Any] | None = None,
    metadata_directory: str | None = None,
) -> str:
    """Builds a wheel that points at the source tree; its programs are copies."""
    stage_programs()
    return maturin.build_editable(wheel_directory, config_settings, metadata_directory)


def stage_programs() -> None:
    """Builds the Rust programs and leaves nothing else than them in the scripts folder."""
    shutil.rmtree(SCRIPTS.parent, ignore_errors=True)
    SCRIPTS.mkdir(parents=True)
    for name, executable in build_programs().items():
        shutil.copy2(executable, SCRIPTS / name)


def build_programs() -> dict[str, Path]:
    """Runs cargo and returns where it put each program: its target folder is the user's to choose."""
    command = ["cargo", "build", "--release", "--message-format=json-render-diagnostics"]
    for name in PROGRAMS:
        command += ["--package", name, "--bin", name]
    print("Running `{}`".format(" ".join(command)), flush=True)
    built = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if built.returncode != 0:
        sys.exit(f"cargo could not build the programs (exit status {built.returncode})")
    messages = (json.loads(line) for line in built.stdout.splitlines() if line.startswith("{"))
    executables = {
        message["target"]["name"]: Path(message["executable"])
        for message in messages
        if message["reason"] == "compiler-artifact" and message.get("executable")
    }
    return {name: executables[name] for name in PROGRAMS}
