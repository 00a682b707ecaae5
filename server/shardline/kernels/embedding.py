"""Token embedding, with the last sampled token of a slot as a possible input.

A step's token ids come from the host for prompt tokens; a decode row's token was sampled on the
device and never left it. `tokens[t] >= 0` is an id; a negative value `-1 - slot` names the slot whose
last token is meant.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from shardline.kernels.chaining import Chain, launch_options, wait_for_previous


@triton.jit
def _embed_kernel(
    tokens,  # i32[rows]
    last_tokens,  # i32[slots]
    table,  # [vocabulary, HIDDEN]
    residual,  # [rows, HIDDEN]
    gamma,  # [HIDDEN]
    scaled,  # [rows, HIDDEN]
    square_sums,  # f32[rows, PARTS]
    vocabulary,
    HIDDEN: tl.constexpr,
    BLOCK: tl.constexpr,
    PARTS: tl.constexpr,
    PARTS_BLOCK: tl.constexpr,
    CHAIN: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = column < HIDDEN
    wait_for_previous(CHAIN)
    token = tl.load(tokens + row)
    if token < 0:
        token = tl.load(last_tokens - 1 - token)
    # An id outside the table would read foreign memory; such a row is refused before it gets here,
    # and a padded row's stale token must be harmless.
    token = tl.minimum(tl.maximum(token, 0), vocabulary - 1)
    value = tl.load(table + token.to(tl.int64) * HIDDEN + column, mask=inside, other=0.0)
    tl.store(residual + row * HIDDEN + column, value, mask=inside)
    if PARTS > 0:
        wide = value.to(tl.float32)
        weight = tl.load(gamma + column, mask=inside, other=0.0).to(tl.float32)
        tl.store(
            scaled + row * HIDDEN + column, (wide * weight).to(scaled.dtype.element_ty), mask=inside
        )
        part = tl.arange(0, PARTS_BLOCK)
        sums = tl.where(part == 0, tl.sum(wide * wide, 0), 0.0)
        tl.store(square_sums + row * PARTS + part, sums, mask=part < PARTS)


def embed(
    tokens: torch.Tensor,
    last_tokens: torch.Tensor,
    table: torch.Tensor,
    residual: torch.Tensor,
    *,
    gamma: torch.Tensor | None = None,
    scaled: torch.Tensor | None = None,
    square_sums: torch.Tensor | None = None,
    chain: Chain = Chain.OFF,
) -> None:
    """residual[t] = table[token t].

    tokens:       i32[rows]; an id, or -1 - slot for the slot's last token
    last_tokens:  i32[slots]
    table:        [vocabulary, hidden]
    residual:     [rows, hidden], written
    gamma, scaled, square_sums: all or none. With them the kernel also prepares the first layer's
        norm for `few_row_product`: scaled = residual * gamma, and square_sums (f32[rows, parts])
        sums to the row's sum of squares.
    """
    rows, hidden = residual.shape
    parts = 0 if square_sums is None else square_sums.shape[1]
    _embed_kernel[(rows,)](
        tokens,
        last_tokens,
        table,
        residual,
        table if gamma is None else gamma,
        residual if scaled is None else scaled,
        residual if square_sums is None else square_sums,
        table.shape[0],
        HIDDEN=hidden,
        BLOCK=triton.next_power_of_2(hidden),
        PARTS=parts,
        PARTS_BLOCK=triton.next_power_of_2(max(parts, 1)),
        CHAIN=int(chain),
        num_warps=8 if hidden >= 2048 else 4,
        **launch_options(chain),
    )
