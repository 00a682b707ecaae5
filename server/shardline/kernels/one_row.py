"""Products of one row: y = x @ weight^T with the norm before and the residual or SwiGLU after.

One row reads every weight once and computes next to nothing, so the only thing that counts is to
keep the memory busy. The first tile of weights does not depend on the kernel before and is loaded
before the wait on it: with chained launches the loads of the next product overlap the end of this one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import torch
import triton
import triton.language as tl

from shardline.kernels.chaining import Chain, launch_options, release_next, wait_for_previous


class Epilogue(IntEnum):
    """What becomes of the product. The values are the kernels' EPILOGUE argument.

    PARTIAL is stored as STORE is: a rank's part of what is added to the residual stream, whose shapes
    differ from those of other products.
    """

    STORE = 0
    RESIDUAL = 1
    SWIGLU = 2
    PARTIAL = 3


@dataclass(frozen=True, slots=True)
class OneRowTile:
    """Output columns a program, elements of a row a step, warps.

    registers: most a thread may use, where one less program a multiprocessor would fit without.
    """

    columns: int
    depth: int
    warps: int
    registers: int | None = None


@triton.jit
def _weights(address, inner, inside, INNER: tl.constexpr, EVEN: tl.constexpr):
    """A tile of weights; masked where it may reach over an edge."""
    if EVEN:
        tile = tl.load(address)
    else:
        tile = tl.load(address, mask=inside & (inner[None, :] < INNER), other=0.0)
    return tile


@triton.jit
def _vector(address, inner, INNER: tl.constexpr, EVEN: tl.constexpr):
    """A piece of a row in float32; masked where it may reach over the end."""
    if EVEN:
        piece = tl.load(address)
    else:
        piece = tl.load(address, mask=inner < INNER, other=0.0)
    return piece.to(tl.float32)


@triton.jit
def _one_row_kernel(
    x,  # [INNER]; the residual row where NORM
    weight,  # [OUT or 2 * OUT, INNER]
    bias,  # [OUT or 2 * OUT]; read where BIAS
    gamma,  # [INNER]; read where NORM
    out,  # [OUT]; the residual row, updated, for the residual epilogue
    eps,
    OUT: tl.constexpr,
    INNER: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    EPILOGUE: tl.constexpr,
    NORM: tl.constexpr,
    BIAS: tl.constexpr,
    CHAIN: tl.constexpr,
):
    EVEN: tl.constexpr = (OUT % COLUMNS == 0) and (INNER % DEPTH == 0)
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    inner = tl.arange(0, DEPTH)
    inside = column[:, None] < OUT
    address = weight + column[:, None].to(tl.int64) * INNER + inner[None, :]
    w = _weights(address, inner, inside, INNER, EVEN)
    if EPILOGUE == 2:
        w_up = _weights(address + OUT * INNER, inner, inside, INNER, EVEN)
    if NORM:
        g = _vector(gamma + inner, inner, INNER, EVEN)
    wait_for_previous(CHAIN)
    value = _vector(x + inner, inner, INNER, EVEN)
    if NORM:
        squares = value * value
        value = value * g
    acc = w.to(tl.float32) * value[None, :]
    if EPILOGUE == 2:
        acc_up = w_up.to(tl.float32) * value[None, :]
    for step in tl.static_range(1, (INNER + DEPTH - 1) // DEPTH):
        at = step * DEPTH
        w = _weights(address + at, inner + at, inside, INNER, EVEN)
        value = _vector(x + at + inner, inner + at, INNER, EVEN)
        if NORM:
            squares += value * value
            value = value * _vector(gamma + at + inner, inner + at, INNER, EVEN)
        acc += w.to(tl.float32) * value[None, :]
        if EPILOGUE == 2:
            w_up = _weights(address + OUT * INNER + at, inner + at, inside, INNER, EVEN)
            acc_up += w_up.to(tl.float32) * value[None, :]
    release_next(CHAIN)
    y = tl.sum(acc, 1)
    if EPILOGUE == 2:
        y_up = tl.sum(acc_up, 1)
    if NORM:
        scale = tl.rsqrt(tl.sum(squares, 0) / INNER + eps)
        y = y * scale
        if EPILOGUE == 2:
            y_up = y_up * scale
    valid = column < OUT
    if BIAS:
        y += tl.load(bias + column, mask=valid, other=0.0).to(tl.float32)
        if EPILOGUE == 2:
            y_up += tl.load(bias + OUT + column, mask=valid, other=0.0).to(tl.float32)
    if EPILOGUE == 1:
        y += tl.load(out + column, mask=valid, other=0.0).to(tl.float32)
    elif EPILOGUE == 2:
        y = y * tl.sigmoid(y) * y_up
    tl.store(out + column, y.to(out.dtype.element_ty), mask=valid)


def one_row_product(
    x: torch.Tensor,
    weight: torch.Tensor,
    out: torch.Tensor,
    tile: OneRowTile,
    *,
    epilogue: Epilogue = Epilogue.STORE,
    bias: torch.Tensor | None = None,
    gamma: torch.Tensor | None = None,
    eps: float = 0.0,
    chain: Chain = Chain.OFF,
) -> None:
    """out = epilogue((norm(x) * gamma) @ weight^T + bias); without gamma x is taken as it is.

    x:       [1, inner]
    weight:  [out, inner]; for SWIGLU [2 * out, inner], gate rows first
    out:     [1, out]; for RESIDUAL the product is added to it
    """
    width = out.shape[1]
    _one_row_kernel[(triton.cdiv(width, tile.columns),)](
        x,
        weight,
        weight if bias is None else bias,
        weight if gamma is None else gamma,
        out,
        eps,
        OUT=width,
        INNER=weight.shape[1],
        COLUMNS=tile.columns,
        DEPTH=tile.depth,
        EPILOGUE=int(epilogue),
        NORM=gamma is not None,
        BIAS=bias is not None,
        CHAIN=int(chain),
        num_warps=tile.warps,
        maxnreg=tile.registers,
        **launch_options(chain),
    )
