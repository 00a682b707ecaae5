"""Servers for all tests that only speak to them."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent / "golden"))

import relabelled
from harness import Server, serve

# Tests of other environments: `test_clients.py` runs them there.
collect_ignore = ["clients"]


@pytest.fixture(scope="session")
def demo() -> Iterator[Server]:
    """The demo model with default flags."""
    with serve("--model-id", "demo") as server:
        yield server


@pytest.fixture(scope="session")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The demo model with tags for its reasoning and marks for gaps, see `relabelled`."""
    with serve(*relabelled.flags(tmp_path_factory.mktemp("marked"))) as server:
        yield server
