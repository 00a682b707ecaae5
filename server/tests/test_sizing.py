"""Memory that turns out to be too small, for the KV cache or for the weights."""

from types import SimpleNamespace

import pytest
import torch

from shardline import assembly
from shardline.kv.sizing import KvCacheError, KvRequest, allocate_blocks
from shardline.start.phases import StartPhases
from shardline.weights.source import WeightError

REQUEST = KvRequest(tokens=None, block_size=16, bytes_per_block=1, max_position=64)


def test_it_shrinks_until_it_fits_and_says_so(caplog):
    tried = []

    def allocate(count):
        tried.append(count)
        return count <= 800

    assert allocate_blocks(1000, allocate, lambda value: value, REQUEST) == 729 == tried[-1]
    assert tried == [1000, 900, 810, 729]
    assert len(caplog.records) == 3 and "trying 729 (11664 tokens)" in caplog.text


def test_all_ranks_shrink_when_one_must():
    """The other rank fails at the first size."""
    others = iter([0, 1])
    count = allocate_blocks(100, lambda count: True, lambda mine: min(mine, next(others)), REQUEST)
    assert count == 90


def test_memory_for_not_even_one_block():
    with pytest.raises(KvCacheError, match="no memory is left"):
        allocate_blocks(8, lambda count: False, lambda value: value, REQUEST)


def test_weights_that_do_not_fit_say_what_is_free(monkeypatch):
    def out_of_memory(*_):
        raise torch.OutOfMemoryError("none left")

    monkeypatch.setattr(assembly, "load_model", out_of_memory)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1_500_000_000, 24_000_000_000))
    plan = SimpleNamespace(device="cuda:0", model_config=None, ops=None, group=None)
    with pytest.raises(WeightError, match=r"after 8\.0 GB of them: 1\.5 of 24\.0 GB are free"):
        assembly.load_weights(plan, SimpleNamespace(read_bytes=8_000_000_000), StartPhases())
