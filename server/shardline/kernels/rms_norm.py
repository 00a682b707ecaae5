"""Root mean square norm, alone and joined with the residual addition.

y = x / sqrt(mean(x^2) + eps) * gamma      (Zhang and Sennrich, 2019)
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from shardline.kernels.chaining import Chain, launch_options, wait_for_previous


@triton.jit
def _rms_norm_kernel(
    delta,  # [rows, HIDDEN]; read where ADD
    residual,  # [rows, HIDDEN]; updated where ADD
    source_rows,  # i32[rows]: which residual row each output row normalises; read where GATHER
    gamma,  # [HIDDEN]
    out,  # [rows, HIDDEN]
    eps,
    HIDDEN: tl.constexpr,
    BLOCK: tl.constexpr,
    ADD: tl.constexpr,
    GATHER: tl.constexpr,
    CHAIN: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = column < HIDDEN
    weight = tl.load(gamma + column, mask=inside, other=0.0).to(tl.float32)
    wait_for_previous(CHAIN)
    source = row
    if GATHER:
        source = tl.load(source_rows + row).to(tl.int64)
    value = tl.load(residual + source * HIDDEN + column, mask=inside, other=0.0).to(tl.float32)
    if ADD:
        value += tl.load(delta + source * HIDDEN + column, mask=inside, other=0.0).to(tl.float32)
        # The norm sees what the next layer will add to: the sum in the residual's own precision.
        rounded = value.to(residual.dtype.element_ty)
        if not GATHER:
            tl.store(residual + source * HIDDEN + column, rounded, mask=inside)
        value = rounded.to(tl.float32)
    scale = tl.rsqrt(tl.sum(value * value, 0) / HIDDEN + eps)
    tl.store(out + row * HIDDEN + column, (value * scale * weight).to(out.dtype.element_ty), mask=inside)


def rms_norm(
    residual: torch.Tensor,
    gamma: torch.Tensor,
    eps: float,
    out: torch.Tensor,
    *,
    delta: torch.Tensor | None = None,
    source_rows: torch.Tensor | None = None,
    chain: Chain = Chain.OFF,
) -> None:
    """out = norm(residual (+ delta)) * gamma, row by row.

    residual:     [rows, hidden], contiguous; with delta and without source_rows it becomes the sum
    delta:        [rows, hidden] added before the norm, or None; may be the same memory as out
    source_rows:  i32[out rows]: normalise only these rows (the ones that sample); the residual is
                  then left as it is, nothing after it reads it
    """
    hidden = residual.shape[1]
    _rms_norm_kernel[(out.shape[0],)](
        residual if delta is None else delta,
        residual,
        residual if source_rows is None else source_rows,
        gamma,
        out,
        eps,
        HIDDEN=hidden,
        BLOCK=triton.next_power_of_2(hidden),
        ADD=delta is not None,
        GATHER=source_rows is not None,
        CHAIN=int(chain),
        num_warps=8 if hidden >= 2048 else 4 if hidden >= 512 else 1,
        **launch_options(chain),
    )
