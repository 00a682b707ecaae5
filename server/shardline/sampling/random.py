"""Random numbers that are a function of what is sampled, not of when or beside whom.

A number is a hash of (seed, choice, position, token id). A replay, a preemption or another batch
therefore draws the same numbers, and so does any device: it is all 32-bit integer arithmetic.
The mixers are the finalizers of MurmurHash3 (32 bit) and SplitMix64 (64 bit).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor

U64 = npt.NDArray[np.uint64]

GOLDEN_64 = np.uint64(0x9E3779B97F4A7C15)
GOLDEN_32 = 0x9E3779B1 - (1 << 32)
MIX_1 = 0x85EBCA6B - (1 << 32)
MIX_2 = 0xC2B2AE35 - (1 << 32)


def mix64(values: U64) -> U64:
    """SplitMix64's finalizer."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def key_bases(seeds: U64, choices: U64) -> U64:
    """What a row's keys start from: u64[rows], the same for all positions of a sequence."""
    with np.errstate(over="ignore"):
        return mix64(mix64(seeds + GOLDEN_64) ^ (choices + GOLDEN_64))


def row_keys(seeds: U64, choices: U64, positions: U64) -> npt.NDArray[np.int32]:
    """One key of 64 bits a row: i32[rows, 2]. `positions`: of the token to be sampled."""
    with np.errstate(over="ignore"):
        keys = mix64(key_bases(seeds, choices) + (positions + np.uint64(1)) * GOLDEN_64)
    return keys.view(np.int32).reshape(-1, 2)


def _shift_right(values: Tensor, bits: int) -> Tensor:
    """Logical shift of i32."""
    return (values >> bits) & ((1 << (32 - bits)) - 1)


def _mix32(values: Tensor) -> Tensor:
    """MurmurHash3's finalizer on i32, in place."""
    values ^= _shift_right(values, 16)
    values *= MIX_1
    values ^= _shift_right(values, 13)
    values *= MIX_2
    values ^= _shift_right(values, 16)
    return values


def uniform(keys: Tensor, token_ids: Tensor) -> Tensor:
    """f32[rows, n] in (0, 1), multiples of 2^-32 near 0.

    `keys`: i32[rows, 2]. `token_ids`: i32[n] or i32[rows, n].
    """
    hashed = _mix32((token_ids * GOLDEN_32) ^ keys[:, :1])
    hashed = _mix32(hashed + keys[:, 1:])
    return (hashed & 0x7FFFFFFF).float().add_(0.5).mul_(2.0**-31)


def gumbel(keys: Tensor, token_ids: Tensor) -> Tensor:
    """Standard Gumbel numbers f32[rows, n]: `-log(-log(1 - u))`, finely spaced where it is large."""
    u = uniform(keys, token_ids).clamp_(max=1.0 - 2.0**-24)
    return u.neg_().log1p_().neg_().log_().neg_()
