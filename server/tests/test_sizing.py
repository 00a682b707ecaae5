"""A KV cache that memory turns out to be too small for."""

import pytest

from shardline.kv.sizing import KvCacheError, KvRequest, allocate_blocks

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
