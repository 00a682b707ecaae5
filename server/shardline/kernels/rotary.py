"""Rope, the optional norm of queries and keys before it, and the write into the paged cache.

Rotated pairs are (i, i + rotary_dim / 2) of a head (Su et al., 2021, in the "half" arrangement);
what lies past rotary_dim stays as it is. The cache of a layer is [blocks, 2, kv_heads, block, dim]:
keys at index 0, values at index 1, so the keys of one head in one block are contiguous.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl


@dataclass(frozen=True, slots=True)
class HeadGeometry:
    """Heads of one layer on this rank, and how their vectors are rotated.

    cos, sin:      f32[max_position, rotary_dim / 2], device
    """

    num_heads: int
    num_kv_heads: int
    head_dim: int
    cos: torch.Tensor
    sin: torch.Tensor

    @property
    def rotary_dim(self) -> int:
        """Leading elements of a head vector that are rotated."""
        return 2 * self.cos.shape[1]

    @property
    def row_width(self) -> int:
        """Elements of one row of queries, keys and values together."""
        return (self.num_heads + 2 * self.num_kv_heads) * self.head_dim


@dataclass(frozen=True, slots=True)
class HeadNorm:
    """Norm of every query and key head before rope. query, key: [head_dim]."""

    query: torch.Tensor
    key: torch.Tensor
    eps: float


@triton.jit
def rotary_angles(position, cos, sin, d, ROTARY: tl.constexpr):
    """(cos, signed sin, partner) of the elements d of a head vector at one position.

    rotated[d] = x[d] * cos + x[partner] * signed sin
    """
    HALF: tl.constexpr = ROTARY // 2
    turned = d < ROTARY
    angle = position.to(tl.int64) * HALF + d % HALF
    c = tl.load(cos + angle, mask=turned, other=1.0)
    s = tl.load(sin + angle, mask=turned, other=0.0)
    s = tl.where(d < HALF, -s, s)
    partner = tl.where(d < HALF, d + HALF, tl.where(turned, d - HALF, d))
    return c, s, partner


@triton.jit
def _rope_and_write_kernel(
    qkv,  # [tokens, (HEADS + 2 * KV_HEADS) * DIM]
    cache,  # [blocks, 2, KV_HEADS, BLOCK, DIM]
    query_starts,  # i32[rows + 1]
    token_rows,  # i32[tokens]
    positions,  # i32[tokens]
    kv_slots,  # i32[tokens]
    cos,
    sin,
    query_gamma,  # [DIM]; read where NORM
    key_gamma,
    eps,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    DIM: tl.constexpr,
    ROTARY: tl.constexpr,
    BLOCK: tl.constexpr,
    HEADS_BLOCK: tl.constexpr,
    DIM_BLOCK: tl.constexpr,
    NORM: tl.constexpr,
    SKIP_SINGLE: tl.constexpr,
):
    token = tl.program_id(0).to(tl.int64)
    slot = tl.load(kv_slots + token).to(tl.int64)
    if slot < 0:
        return
    if SKIP_SINGLE:
        row = tl.load(token_rows + token)
        if tl.load(query_starts + row + 1) - tl.load(query_starts + row) == 1:
            return
    d = tl.arange(0, DIM_BLOCK)
    head = tl.program_id(1) * HEADS_BLOCK + tl.arange(0, HEADS_BLOCK)[:, None]
    in_dim = d[None, :] < DIM
    c, s, partner = rotary_angles(tl.load(positions + token), cos, sin, d, ROTARY)
    base = qkv + token * (HEADS + 2 * KV_HEADS) * DIM
    # Query and key heads are neighbours in the row, so one sweep turns both.
    turned = (head < HEADS + KV_HEADS) & in_dim
    x = tl.load(base + head * DIM + d[None, :], mask=turned, other=0.0).to(tl.float32)
    y = tl.load(base + head * DIM + partner[None, :], mask=turned, other=0.0).to(tl.float32)
    is_key = head >= HEADS
    if NORM:
        scale = tl.rsqrt(tl.sum(x * x, 1) / DIM + eps)[:, None]
        own = tl.load(query_gamma + d, mask=d < DIM, other=0.0).to(tl.float32)[None, :]
        own_key = tl.load(key_gamma + d, mask=d < DIM, other=0.0).to(tl.float32)[None, :]
        far = tl.load(query_gamma + partner, mask=d < DIM, other=0.0).to(tl.float32)[None, :]
        far_key = tl.load(key_gamma + partner, mask=d < DIM, other=0.0).to(tl.float32)[None, :]
        x = x * scale * tl.where(is_key, own_key, own)
        y = y * scale * tl.where(is_key, far_key, far)
    rotated = (x * c[None, :] + y * s[None, :]).to(qkv.dtype.element_ty)
    tl.store(base + head * DIM + d[None, :], rotated, mask=turned & (head < HEADS))
    kv_head = head - HEADS
    place = ((slot // BLOCK) * 2 * KV_HEADS + kv_head) * BLOCK + slot % BLOCK
    keys = turned & is_key
    tl.store(cache + place * DIM + d[None, :], rotated, mask=keys)
    value = tl.load(base + (head + KV_HEADS) * DIM + d[None, :], mask=keys, other=0.0)
    tl.store(cache + (place + KV_HEADS * BLOCK) * DIM + d[None, :], value, mask=keys)


def rope_and_write(
    qkv: torch.Tensor,
    cache: torch.Tensor,
    geometry: HeadGeometry,
    query_starts: torch.Tensor,
    token_rows: torch.Tensor,
    positions: torch.Tensor,
    kv_slots: torch.Tensor,
    *,
    norm: HeadNorm | None = None,
    skip_single_token_rows: bool = False,
) -> None:
    """Turns the queries of `qkv` in place and writes turned keys and values into the cache.

    qkv:           [tokens, row_width]
    cache:         [blocks, 2, kv_heads, block, dim]
    query_starts:  i32[rows + 1], token_rows: i32[tokens], positions: i32[tokens]
    kv_slots:      i32[tokens]: block * block_size + offset; -1 = padding, skipped
    skip_single_token_rows: leave out rows of one token, which decode attention turns by itself
    """
    heads = geometry.num_heads + geometry.num_kv_heads
    heads_block = min(16, triton.next_power_of_2(heads))
    _rope_and_write_kernel[(qkv.shape[0], triton.cdiv(heads, heads_block))](
        qkv,
        cache,
        query_starts,
        token_rows,
        positions,
        kv_slots,
        geometry.cos,
        geometry.sin,
        qkv if norm is None else norm.query,
        qkv if norm is None else norm.key,
        0.0 if norm is None else norm.eps,
        HEADS=geometry.num_heads,
        KV_HEADS=geometry.num_kv_heads,
        DIM=geometry.head_dim,
        ROTARY=geometry.rotary_dim,
        BLOCK=cache.shape[3],
        HEADS_BLOCK=heads_block,
        DIM_BLOCK=triton.next_power_of_2(geometry.head_dim),
        NORM=norm is not None,
        SKIP_SINGLE=skip_single_token_rows,
        num_warps=4,
    )
