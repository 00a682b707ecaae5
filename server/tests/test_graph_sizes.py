"""Which padded size a step gets."""

import numpy as np
import pytest

from shardline.runner.batch import StepPlan, is_uneven
from shardline.runner.graph_sizes import GraphSize, GraphSizes


def plan(counts, samples=None, computed=None):
    counts = np.array(counts, np.int32)
    rows = len(counts)
    zeros = np.zeros(rows, np.int32)
    before = zeros if computed is None else np.array(computed, np.int32)
    sampled = np.ones(rows, np.bool_) if samples is None else np.array(samples, np.bool_)
    return StepPlan(
        np.arange(rows, dtype=np.uint64), zeros, counts, before, zeros, sampled, is_uneven(before, counts)
    )


SIZES = GraphSizes(max_rows=100, most_tokens=600)


@pytest.mark.parametrize(("rows", "padded"), [(1, 1), (3, 4), (17, 24), (97, 100), (100, 100)])
def test_decode_steps_pad_their_rows(rows, padded):
    assert SIZES.of(plan([1] * rows)) == GraphSize(padded, padded, 0)


@pytest.mark.parametrize(
    ("counts", "computed", "uneven"),
    [
        ([1], [100_000], False),
        ([1] * 10, [2_000] * 10, False),
        ([1] * 10, [600] * 9 + [4_000], False),
        ([1] * 10, [600] * 9 + [4_200], True),
        ([1] * 100, [600] * 99 + [4_000], False),
        ([1] * 100, [600] * 99 + [4_200], True),
        ([], [], False),
        # A chunk of a long prompt has attention of its own.
        ([1] * 10 + [30], [600] * 10 + [30_000], False),
        ([1] * 10 + [30], [600] * 9 + [30_000, 0], True),
    ],
)
def test_a_row_far_longer_than_the_others_has_sizes_of_its_own(counts, computed, uneven):
    assert SIZES.of(plan(counts, computed=computed)).uneven == uneven


def test_a_chunk_makes_a_step_mixed():
    assert SIZES.of(plan([1, 1, 30])) == GraphSize(rows=8, tokens=32, chunk_rows=8)


def test_a_single_token_that_does_not_sample_makes_a_step_mixed():
    assert SIZES.of(plan([1, 1], [True, False])) == GraphSize(rows=8, tokens=16, chunk_rows=8)


def test_chunk_rows_never_exceed_rows():
    size = SIZES.of(plan([2] * 90))
    assert size == GraphSize(rows=100, tokens=192, chunk_rows=100)


def test_a_step_above_the_limit_is_not_captured():
    assert SIZES.of(plan([1, 599])) == GraphSize(rows=8, tokens=600, chunk_rows=8)
    assert SIZES.of(plan([1, 600])) is None


def test_given_sizes_replace_the_decode_sizes():
    sizes = GraphSizes(max_rows=64, most_tokens=256, decode_rows=(4, 32))
    assert sizes.of(plan([1])) == GraphSize(4, 4, 0)
    assert sizes.of(plan([1] * 33)) == GraphSize(64, 64, 0)
    assert sizes.decode_sizes() == (GraphSize(32, 32, 0), GraphSize(4, 4, 0))


@pytest.mark.parametrize("max_rows", [1, 7, 64, 512])
def test_representatives_stay_within_the_limits(max_rows):
    sizes = GraphSizes(max_rows, most_tokens=2048).representatives()
    assert all(0 < size.rows <= max_rows for size in sizes)
    assert all(size.chunk_rows <= size.rows for size in sizes)
    assert sum(size.chunk_rows == 0 for size in sizes) >= 1


@pytest.mark.parametrize(("max_rows", "most_tokens"), [(1, 256), (64, 256), (512, 1024), (600, 300)])
def test_no_size_needs_more_memory_than_the_largest(max_rows, most_tokens):
    sizes = GraphSizes(max_rows, most_tokens)
    mixed, decode = sizes.largest()
    assert not mixed.is_decode and decode.is_decode
    for size in (*sizes.representatives(), *sizes.decode_sizes()):
        largest = decode if size.is_decode else mixed
        assert size.tokens <= largest.tokens and size.rows <= largest.rows


def test_few_rows_are_likeliest_and_both_kinds_of_steps_take_turns():
    sizes = GraphSizes(max_rows=64, most_tokens=512)
    order = sizes.by_likelihood()
    assert set(order) == {*sizes.usual_mixed_sizes(), *sizes.decode_sizes()} and len(set(order)) == len(order)
    assert order[:4] == (GraphSize(1, 1, 0), GraphSize(8, 16, 8), GraphSize(2, 2, 0), GraphSize(8, 32, 8))
    for kind in (True, False):
        rows = [size.rows for size in order if size.is_decode is kind]
        assert rows == sorted(rows)


@pytest.mark.parametrize("max_rows", [1, 7, 50, 64, 512])
@pytest.mark.parametrize("most_tokens", [256, 600])
def test_a_few_prompts_beside_decode_rows_make_a_usual_size(max_rows, most_tokens):
    sizes = GraphSizes(max_rows, most_tokens)
    usual, met = sizes.usual_mixed_sizes(), set()
    for decode in range(min(max_rows, 256)):
        for prompts in {1, min(8, max_rows - decode, 256 - decode)}:
            for tokens in range(2 * prompts, 1 + min(512, most_tokens - decode), 3):
                chunks = [2] * (prompts - 1) + [tokens - 2 * (prompts - 1)]
                met.add(sizes.of(plan([1] * decode + chunks)))
    assert met == usual


def test_products_have_the_rows_of_padded_steps():
    counts = GraphSizes(max_rows=100, most_tokens=600).row_counts()
    assert counts == tuple(sorted(set(counts)))
    assert {1, 4, 96, 100, 128, 512, 600} <= set(counts) and max(counts) == 600
