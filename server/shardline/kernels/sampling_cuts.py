"""Cuts within a row: which tokens top-k, top-p and min-p keep, and the draw among them.

Everything works on distances, (maximum - logit) / temperature: positive floats that order like their bit
patterns. See `sampling.py` for the steps these belong to.
"""

from __future__ import annotations

import triton
import triton.language as tl

from shardline.kernels.counted_random import gumbel


@triton.jit
def distance_below(highest, x, temperature):
    """How far logits lie under the maximum, in units of the temperature; huge for -inf."""
    return tl.minimum((highest - x) / temperature, 3.0e38)


@triton.jit
def last_bin(bins, row, top_k, top_p, min_p, mass):
    """The farthest bin that the cuts can reach into.

    Top-p after top-k takes its share of the mass of those `top_k`, so all of them are needed.
    """
    bin_index = tl.arange(0, 256)
    counts = tl.load(bins + row * 256 + bin_index)
    if top_k > 0.0:
        enough = tl.cumsum(counts, 0).to(tl.float32) >= top_k
    else:
        # Each token of a bin weighs at least exp(-its far edge).
        far_edge = (bin_index + 1) / 8.0
        least_mass = tl.cumsum(counts * tl.exp(-far_edge), 0)
        enough = (least_mass >= top_p * mass) | (far_edge > -tl.log(min_p))
    return tl.min(tl.where(enough, bin_index, 254), 0)


@triton.jit
def _count_and_mass(logits, row, highest, temperature, limit, VOCABULARY: tl.constexpr):
    """How many logits lie within `limit` of the maximum, and their mass; a pass over the row."""
    lane = tl.arange(0, 4096)
    count = tl.zeros((4096,), tl.float32)
    mass = tl.zeros((4096,), tl.float32)
    for start in range(0, VOCABULARY, 4096):
        token = start + lane
        x = tl.load(logits + row * VOCABULARY + token, mask=token < VOCABULARY, other=float("-inf"))
        distance = distance_below(highest, x.to(tl.float32), temperature)
        within = distance <= limit
        count += tl.where(within, 1.0, 0.0)
        mass += tl.where(within, tl.exp(-distance), 0.0)
    return tl.sum(count, 0), tl.sum(mass, 0)


@triton.jit
def _draw_from_row(logits, row, highest, temperature, limit, low, high, VOCABULARY: tl.constexpr):
    """The Gumbel maximum among the logits within `limit` of the maximum; a pass over the row."""
    lane = tl.arange(0, 4096)
    best = tl.full((4096,), float("-inf"), tl.float32)
    best_token = tl.zeros((4096,), tl.int32)
    for start in range(0, VOCABULARY, 4096):
        token = start + lane
        x = tl.load(logits + row * VOCABULARY + token, mask=token < VOCABULARY, other=float("-inf"))
        x = x.to(tl.float32)
        kept = distance_below(highest, x, temperature) <= limit
        value = tl.where(kept, x / temperature + gumbel(low, high, token), float("-inf"))
        better = value > best
        best = tl.where(better, value, best)
        best_token = tl.where(better, token, best_token)
    top = tl.max(best, 0)
    return tl.min(tl.where(best == top, best_token, VOCABULARY), 0)


@triton.jit
def _within(distance, weight, short, logits, row, highest, temperature, edge, VOCABULARY: tl.constexpr):
    """Count and mass of the tokens within `edge`: from the short list, or from the row."""
    if short:
        count = tl.sum(tl.where(distance <= edge, 1.0, 0.0), 0)
        mass = tl.sum(tl.where(distance <= edge, weight, 0.0), 0)
    else:
        count, mass = _count_and_mass(logits, row, highest, temperature, edge, VOCABULARY)
    return count, mass


@triton.jit
def _tighten(
    distance,
    weight,
    short,
    logits,
    row,
    highest,
    temperature,
    limit,
    needed,
    BY_MASS: tl.constexpr,
    VOCABULARY: tl.constexpr,
):
    """The smallest distance not above `limit` within which count or mass reaches `needed`.

    Bisection over the bits: positive floats order like their patterns, so 31 steps are exact.
    """
    upper = limit.to(tl.int32, bitcast=True)
    below = upper * 0 - 1
    for _step in range(31):
        # Not (below + upper) / 2: the sum of two patterns leaves 32 bits.
        middle = below + ((upper - below) >> 1)
        edge = middle.to(tl.float32, bitcast=True)
        count, mass = _within(distance, weight, short, logits, row, highest, temperature, edge, VOCABULARY)
        if BY_MASS:
            enough = mass >= needed
        else:
            enough = count >= needed
        upper = tl.where(enough, middle, upper)
        below = tl.where(enough, below, middle)
    return upper.to(tl.float32, bitcast=True)


@triton.jit
def draw_with_cuts(
    logits,
    row,
    highest,
    mass,
    temperature,
    top_k,
    top_p,
    min_p,
    low,
    high,
    list_size,
    list_values,
    list_tokens,
    VOCABULARY: tl.constexpr,
    CAPACITY: tl.constexpr,
):
    """Top-k, then top-p of what is left, then min-p; the Gumbel maximum of what they keep."""
    size = tl.load(list_size + row)
    lane = tl.arange(0, CAPACITY)
    listed = lane < size
    x = tl.load(list_values + row * CAPACITY + lane, mask=listed, other=float("-inf"))
    item = tl.load(list_tokens + row * CAPACITY + lane, mask=listed, other=0)
    distance = distance_below(highest, x, temperature)
    weight = tl.exp(-distance)
    short = size <= CAPACITY
    limit = tl.full((), 32.0, tl.float32)
    if top_k > 0.0:
        limit = _tighten(
            distance, weight, short, logits, row, highest, temperature, limit, top_k, False, VOCABULARY
        )
        _count, mass = _within(distance, weight, short, logits, row, highest, temperature, limit, VOCABULARY)
    if top_p < 1.0:
        needed = top_p * mass
        limit = _tighten(
            distance, weight, short, logits, row, highest, temperature, limit, needed, True, VOCABULARY
        )
    if min_p > 0.0:
        limit = tl.minimum(limit, -tl.log(min_p))
    if short:
        value = x / temperature + gumbel(low, high, item)
        value = tl.where(distance <= limit, value, float("-inf"))
        best = tl.max(value, 0)
        token = tl.min(tl.where(value == best, item, VOCABULARY), 0)
    else:
        token = _draw_from_row(logits, row, highest, temperature, limit, low, high, VOCABULARY)
    return token
