"""Token ids to rows, and where the ids of a step come from.

The host knows the ids of prompt tokens; a decode row's token was sampled on the device and never
left it. `resolve_tokens` puts the two together.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from shardline.kernels.chaining import Chain, launch_options, wait_for_previous


@triton.jit(do_not_specialize=["first"])
def _embed_kernel(
    tokens,  # i32[rows]
    table,  # [vocabulary, HIDDEN]
    residual,  # [rows, HIDDEN]
    gamma,  # [HIDDEN]
    scaled,  # [rows, HIDDEN]
    square_sums,  # f32[rows, PARTS]
    vocabulary,
    first,
    HIDDEN: tl.constexpr,
    BLOCK: tl.constexpr,
    IS_PART: tl.constexpr,
    PARTS: tl.constexpr,
    PARTS_BLOCK: tl.constexpr,
    CHAIN: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = column < HIDDEN
    wait_for_previous(CHAIN)
    token = tl.load(tokens + row) - first
    if IS_PART:
        inside = inside & (token >= 0) & (token < vocabulary)
    # An id outside the table would read foreign memory; such a row is refused before it gets here,
    # and a padded row's stale token must be harmless.
    token = tl.minimum(tl.maximum(token, 0), vocabulary - 1)
    value = tl.load(table + token.to(tl.int64) * HIDDEN + column, mask=inside, other=0.0)
    tl.store(residual + row * HIDDEN + column, value, mask=column < HIDDEN)
    if PARTS > 0:
        wide = value.to(tl.float32)
        weight = tl.load(gamma + column, mask=inside, other=0.0).to(tl.float32)
        tl.store(scaled + row * HIDDEN + column, (wide * weight).to(scaled.dtype.element_ty), mask=inside)
        part = tl.arange(0, PARTS_BLOCK)
        sums = tl.where(part == 0, tl.sum(wide * wide, 0), 0.0)
        tl.store(square_sums + row * PARTS + part, sums, mask=part < PARTS)


def embed(
    tokens: torch.Tensor,
    table: torch.Tensor,
    residual: torch.Tensor,
    *,
    first_token: int | None = None,
    gamma: torch.Tensor | None = None,
    scaled: torch.Tensor | None = None,
    square_sums: torch.Tensor | None = None,
    chain: Chain = Chain.OFF,
) -> None:
    """residual[t] = table[token t].

    tokens:       i32[rows]
    table:        [vocabulary, hidden]
    residual:     [rows, hidden], written
    first_token:  the table is a part of the vocabulary that begins there, and other tokens' rows become
        zeros; none: it is all of it
    gamma, scaled, square_sums: all or none. With them the kernel also prepares the first layer's
        norm for `few_row_product`: scaled = residual * gamma, and square_sums (f32[rows, parts])
        sums to the row's sum of squares.
    """
    rows, hidden = residual.shape
    parts = 0 if square_sums is None else square_sums.shape[1]
    _embed_kernel[(rows,)](
        tokens,
        table,
        residual,
        table if gamma is None else gamma,
        residual if scaled is None else scaled,
        residual if square_sums is None else square_sums,
        table.shape[0],
        first_token or 0,
        HIDDEN=hidden,
        BLOCK=triton.next_power_of_2(hidden),
        IS_PART=first_token is not None,
        PARTS=parts,
        PARTS_BLOCK=triton.next_power_of_2(max(parts, 1)),
        CHAIN=int(chain),
        num_warps=8 if hidden >= 2048 else 4,
        **launch_options(chain),
    )


@triton.jit(do_not_specialize=["count"])
def _resolve_tokens_kernel(
    given,  # i32[count]
    token_rows,  # i32[count]
    slots,  # i32[rows]
    last_tokens,  # i32[slots]
    out,  # i32[count]
    count,
    BLOCK: tl.constexpr,
):
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < count
    token = tl.load(given + place, mask=inside, other=0)
    sampled = inside & (token < 0)
    slot = tl.load(slots + tl.load(token_rows + place, mask=sampled, other=0), mask=sampled, other=0)
    token = tl.where(sampled, tl.load(last_tokens + slot, mask=sampled, other=0), token)
    tl.store(out + place, token, mask=inside)


def resolve_tokens(
    given: torch.Tensor,
    token_rows: torch.Tensor,
    slots: torch.Tensor,
    last_tokens: torch.Tensor,
    out: torch.Tensor,
) -> None:
    """out[t] = given[t], or where that is negative the last token of the token's sequence.

    given, token_rows, out: i32[tokens]; slots: i32[rows]; last_tokens: i32[slots]
    """
    count = given.shape[0]
    _resolve_tokens_kernel[(triton.cdiv(count, 256),)](
        given, token_rows, slots, last_tokens, out, count, BLOCK=256, num_warps=4
    )
