"""What steps were measured to need, as it is kept on disk."""

import pytest

pytest.importorskip("triton")

from shardline.runner.graphs import MOST_GRAPHS
from shardline.runner.memory import StepMemory

FOUND = StepMemory(launched=100, pool=30, graph=2)


def test_a_record_comes_back():
    assert StepMemory.of_record(FOUND.record()) == FOUND
    assert FOUND.captured == 30 + 2 * MOST_GRAPHS


@pytest.mark.parametrize(
    "record",
    [None, [], {}, {"launched": 1}, {**FOUND.record(), "more": 1}, {**FOUND.record(), "pool": -1},
     {**FOUND.record(), "pool": True}, {**FOUND.record(), "pool": 1.5}],
)  # fmt: skip
def test_what_is_no_record_of_ours_is_none(record):
    assert StepMemory.of_record(record) is None
