"""The gated activation of Llama's feed-forward: silu(gate) * up  (Shazeer, 2020)."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from shardline.kernels.chaining import Chain, launch_options, wait_for_previous

_BLOCK = 1024


@triton.jit
def _swiglu_kernel(
    gate_up,  # [rows, 2 * INTERMEDIATE]
    out,  # [rows, INTERMEDIATE]
    INTERMEDIATE: tl.constexpr,
    BLOCK: tl.constexpr,
    CHAIN: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < INTERMEDIATE
    wait_for_previous(CHAIN)
    start = gate_up + row * 2 * INTERMEDIATE + column
    gate = tl.load(start, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(start + INTERMEDIATE, mask=inside, other=0.0).to(tl.float32)
    value = gate * tl.sigmoid(gate) * up
    tl.store(out + row * INTERMEDIATE + column, value.to(out.dtype.element_ty), mask=inside)


def swiglu(gate_up: torch.Tensor, out: torch.Tensor, *, chain: Chain = Chain.OFF) -> None:
    """out[rows, n] = silu(gate_up[:, :n]) * gate_up[:, n:]; both contiguous."""
    rows, intermediate = out.shape
    _swiglu_kernel[(rows, triton.cdiv(intermediate, _BLOCK))](
        gate_up,
        out,
        INTERMEDIATE=intermediate,
        BLOCK=_BLOCK,
        CHAIN=int(chain),
        num_warps=4,
        **launch_options(chain),
    )
