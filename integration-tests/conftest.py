"""One demo server for all tests that only speak to it."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent / "golden"))

from harness import Server, serve

# Tests of other environments: `test_clients.py` runs them there.
collect_ignore = ["clients"]


@pytest.fixture(scope="session")
def demo() -> Iterator[Server]:
    """The demo model with default flags."""
    with serve("--model-id", "demo") as server:
        yield server
