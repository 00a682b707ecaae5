"""Where cargo puts the programs that it builds."""

import os
from pathlib import Path

ROOT = Path(__file__).parent.parent


def built(name: str) -> Path:
    """The program `name` of `cargo build --release`, wherever CARGO_TARGET_DIR says."""
    return ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "release" / name
