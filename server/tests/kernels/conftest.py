"""Where the kernels run in these tests: on the card if there is one, else in Triton's interpreter.

The interpreter computes bfloat16 products wrongly, so the CPU checks float16 and float32.
"""

from __future__ import annotations

import os

import pytest
import torch

if not torch.cuda.is_available():
    # Read when a kernel is declared, so it must be set before any of them is imported.
    os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of many random shapes compile many variants: they are for a card, not for the interpreter."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("card"):
            item.add_marker(pytest.mark.skip(reason="there is no GPU"))


@pytest.fixture
def device() -> torch.device:
    """The device of every tensor of a test."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _dtypes() -> list[torch.dtype]:
    if torch.cuda.is_available():
        return [torch.bfloat16, torch.float16]
    return [torch.float16]


@pytest.fixture(params=_dtypes(), ids=str)
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    """Every storage type that the kernels serve here."""
    chosen: torch.dtype = request.param
    return chosen


@pytest.fixture
def generator(device: torch.device) -> torch.Generator:
    """Random numbers that are the same in every run."""
    return torch.Generator(device).manual_seed(20)
