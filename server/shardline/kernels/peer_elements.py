"""What kernels that sum over ranks share: elements in pairs, and what becomes of a sum.

Elements of two bytes go over the link in pairs of one i32, whatever their type.
"""

from __future__ import annotations

import triton
import triton.language as tl

ELEMENTS_A_PAIR = 2
ELEMENT_BYTES = 2


@triton.jit
def elements(pairs, ELEMENT: tl.constexpr):
    """The first and the second elements of pairs: i32 each, f32."""
    first = pairs.to(tl.int16).to(ELEMENT, bitcast=True)
    second = (pairs >> 16).to(tl.int16).to(ELEMENT, bitcast=True)
    return first.to(tl.float32), second.to(tl.float32)


@triton.jit
def rounded_pairs(first, second, ELEMENT: tl.constexpr):
    """The reverse of `elements`, rounded, and what the elements have become: f32."""
    first = first.to(ELEMENT)
    second = second.to(ELEMENT)
    low = first.to(tl.int16, bitcast=True).to(tl.int32) & 0xFFFF
    high = second.to(tl.int16, bitcast=True).to(tl.int32) << 16
    return high | low, first.to(tl.float32), second.to(tl.float32)


@triton.jit
def row_pairs(rows, row, PAIRS: tl.constexpr, BLOCK: tl.constexpr):
    """One row of [rows, 2 * PAIRS] as pairs: i32[BLOCK], zeros past its end."""
    pair = tl.arange(0, BLOCK)
    return tl.load(rows.to(tl.pointer_type(tl.int32)) + row * PAIRS + pair, mask=pair < PAIRS, other=0)


@triton.jit
def finish_row(
    first,  # f32[BLOCK], the sum's even elements
    second,  # its odd ones
    before,  # i32[BLOCK], pairs of the residual row; added where ADD
    gamma,  # i32[BLOCK], pairs of the norm's weight; used where NORM
    residual,  # [rows, 2 * PAIRS], becomes the sum
    normed,  # [rows, 2 * PAIRS]; written where NORM
    row,
    eps,
    PAIRS: tl.constexpr,
    BLOCK: tl.constexpr,
    ADD: tl.constexpr,
    NORM: tl.constexpr,
):
    """Adds the residual row, stores the sum and its norm."""
    ELEMENT: tl.constexpr = residual.dtype.element_ty
    pairs = tl.pointer_type(tl.int32)
    pair = tl.arange(0, BLOCK)
    inside = pair < PAIRS
    at = row * PAIRS + pair
    if ADD:
        one, two = elements(before, ELEMENT)
        first += one
        second += two
    total, first, second = rounded_pairs(first, second, ELEMENT)
    tl.store(residual.to(pairs) + at, total, mask=inside)
    if NORM:
        scale = tl.rsqrt(tl.sum(first * first + second * second, 0) / (2 * PAIRS) + eps)
        one, two = elements(gamma, ELEMENT)
        scaled, _, _ = rounded_pairs(first * scale * one, second * scale * two, ELEMENT)
        tl.store(normed.to(pairs) + at, scaled, mask=inside)
