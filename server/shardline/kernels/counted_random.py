"""Random numbers that are a function of (seed, choice, position, token), inside a kernel.

The same integer arithmetic as `shardline.sampling.random`, so a row draws the same numbers here and
there: MurmurHash3's finalizer on 32 bits, SplitMix64's on 64.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _mix64(value):
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB
    return value ^ (value >> 31)


@triton.jit
def _mix32(value):
    value = value ^ (value >> 16)
    value = value * 0x85EBCA6B
    value = value ^ (value >> 13)
    value = value * 0xC2B2AE35
    return value ^ (value >> 16)


@triton.jit
def row_key(base, position):
    """The row's key, two u32, for the token at `position` (i64 scalar).

    base: i64 scalar, what seed and choice hash to (`shardline.sampling.random.key_bases`).
    """
    step = (position + 1).to(tl.uint64) * 0x9E3779B97F4A7C15
    key = _mix64(base.to(tl.uint64, bitcast=True) + step)
    return key.to(tl.uint32), (key >> 32).to(tl.uint32)


@triton.jit
def gumbel(low, high, token):
    """Standard Gumbel numbers for the tokens of a row: -log(-log(1 - u)).

    low, high: u32 scalars of `row_key`; token: i32 block.
    """
    hashed = _mix32((token.to(tl.uint32, bitcast=True) * 0x9E3779B1) ^ low)
    hashed = _mix32(hashed + high)
    u = ((hashed & 0x7FFFFFFF).to(tl.int32).to(tl.float32) + 0.5) * 4.656612873077393e-10
    u = tl.minimum(u, 0.99999994)
    # The large Gumbel numbers come from small u, where 1 - u has lost them and a card's fast logarithm
    # is exact in absolute terms only: there the series of -log(1 - u) takes over.
    series = 1.0 / 6.0 + u * (1.0 / 7.0)
    series = 0.2 + u * series
    series = 0.25 + u * series
    series = 1.0 / 3.0 + u * series
    series = u * (1.0 + u * (0.5 + u * series))
    inner = tl.where(u < 0.0625, series, -tl.log(1.0 - u))
    return -tl.log(inner)
