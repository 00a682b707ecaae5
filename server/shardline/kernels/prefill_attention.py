"""Causal attention of prompt chunks over the paged cache.

The chunk's own keys and values are already in the cache (see `rotary.rope_and_write`). Work is cut
into tiles of query rows; `plan_tiles` lists them on the device, so the launch has a fixed size and a
captured graph serves any mix of chunks. Tiles with most keys come first, so that the last programs to
start are the short ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from shardline.kernels.paging import block_ids, key_rows
from shardline.kernels.rotary import HeadGeometry

_LOG2_E = 1.4426950408889634


@dataclass(frozen=True, slots=True)
class PrefillTile:
    """Launch shape: query rows and keys a tile, pipeline depth, warps."""

    queries: int
    keys: int
    stages: int
    warps: int


@dataclass(frozen=True, slots=True)
class PrefillPlan:
    """The tiles of a step, on the device.

    rows, starts:  i32[capacity]: row of the tile and its first token within the row's chunk
    count:         i32[1]: how many of them are real
    """

    rows: torch.Tensor
    starts: torch.Tensor
    count: torch.Tensor

    @staticmethod
    def allocate(tokens: int, rows: int, tile: PrefillTile, device: torch.device) -> PrefillPlan:
        """Room for any split of `tokens` tokens over `rows` rows."""
        capacity = tokens // tile.queries + rows
        return PrefillPlan(
            torch.zeros(capacity, dtype=torch.int32, device=device),
            torch.zeros(capacity, dtype=torch.int32, device=device),
            torch.zeros(1, dtype=torch.int32, device=device),
        )


@triton.jit(do_not_specialize=["rows"])
def _plan_tiles_kernel(
    query_starts, rows, tile_rows, tile_starts, count, QUERIES: tl.constexpr, ROWS: tl.constexpr
):
    """Program r lists row r's tiles at the places a sort by falling tile index would give them."""
    row = tl.program_id(0)
    other = tl.arange(0, ROWS)
    inside = other < rows
    start = tl.load(query_starts + other, mask=inside, other=0)
    tokens = tl.load(query_starts + other + 1, mask=inside, other=0) - start
    tiles = tl.where(tokens > 1, (tokens + QUERIES - 1) // QUERIES, 0)
    if row == 0:
        tl.store(count, tl.sum(tiles, 0))
    mine = tl.sum(tl.where(other == row, tiles, 0), 0)
    for index in range(mine):
        later = tl.sum(tl.maximum(tiles - index - 1, 0), 0)
        beside = tl.sum(((tiles > index) & (other < row)).to(tl.int32), 0)
        tl.store(tile_rows + later + beside, row)
        tl.store(tile_starts + later + beside, index * QUERIES)


def plan_tiles(query_starts: torch.Tensor, plan: PrefillPlan, tile: PrefillTile) -> None:
    """Lists the query tiles of all rows with more than one token.

    query_starts:  i32[rows + 1]
    """
    rows = query_starts.shape[0] - 1
    _plan_tiles_kernel[(rows,)](
        query_starts,
        rows,
        plan.rows,
        plan.starts,
        plan.count,
        QUERIES=tile.queries,
        ROWS=max(16, triton.next_power_of_2(rows)),
        num_warps=1 if rows <= 128 else 4,
    )


@triton.jit
def _attend(q, k, v, seen, scale, peak, total, acc, MASK: tl.constexpr):
    """One tile of keys into the running softmax (base 2)."""
    score = tl.dot(q, k.T) * scale
    if MASK:
        score = tl.where(seen, score, float("-inf"))
    new_peak = tl.maximum(peak, tl.max(score, 1))
    if MASK:
        new_peak = tl.maximum(new_peak, -1.0e30)
    weight = tl.exp2(score - new_peak[:, None])
    keep = tl.exp2(peak - new_peak)
    total = total * keep + tl.sum(weight, 1)
    acc = tl.dot(weight.to(v.dtype), v, acc * keep[:, None])
    return new_peak, total, acc


@triton.jit(do_not_specialize=["table_width"])
def _prefill_attention_kernel(
    qkv,  # [tokens, (HEADS + 2 * KV_HEADS) * DIM], queries turned
    cache,  # [blocks, 2, KV_HEADS, BLOCK, DIM]
    block_tables,  # i32[slots, table_width]
    slots,  # i32[rows]
    query_starts,  # i32[rows + 1]
    context_lengths,  # i32[rows], with the chunk
    tile_rows,
    tile_starts,
    tile_count,
    out,  # [tokens, HEADS * DIM]
    scale,
    table_width,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    DIM: tl.constexpr,
    DIM_BLOCK: tl.constexpr,
    BLOCK: tl.constexpr,
    QUERIES: tl.constexpr,
    TILE: tl.constexpr,
    STAGES: tl.constexpr,
    WINDOW: tl.constexpr,
):
    head = tl.program_id(0)
    tile = tl.program_id(1)
    tiles = tl.load(tile_count)
    row = tl.load(tile_rows + tile)
    first_query = tl.load(tile_starts + tile)
    if tile >= tiles:
        return
    token = tl.load(query_starts + row)
    next_token = tl.load(query_starts + row + 1)
    length = tl.load(context_lengths + row)
    slot = tl.load(slots + row).to(tl.int64)
    queries = next_token - token
    kv_head = head // (HEADS // KV_HEADS)
    WIDTH: tl.constexpr = (HEADS + 2 * KV_HEADS) * DIM
    VALUES: tl.constexpr = KV_HEADS * BLOCK * DIM

    query = first_query + tl.arange(0, QUERIES)
    d = tl.arange(0, DIM_BLOCK)
    lane = tl.arange(0, TILE)
    in_dim = d[None, :] < DIM
    valid = (query[:, None] < queries) & in_dim
    at = (token + query[:, None]).to(tl.int64)
    q = tl.load(qkv + at * WIDTH + head * DIM + d[None, :], mask=valid, other=0.0)
    past = length - queries
    position = past + query
    table = block_tables + slot * table_width

    peak = tl.full((QUERIES,), float("-inf"), tl.float32)
    total = tl.zeros((QUERIES,), tl.float32)
    acc = tl.zeros((QUERIES, DIM_BLOCK), tl.float32)
    last = length - 1
    begin = 0
    # Keys before `full` are seen by every query of the tile and need no mask.
    full = (past + first_query + 1) // TILE * TILE
    if WINDOW > 0:
        begin = tl.maximum(past + first_query + 1 - WINDOW, 0) // TILE * TILE
        full = begin
    ids = block_ids(table, begin, lane, last, BLOCK, TILE)
    for key in tl.range(begin, full, TILE, num_stages=STAGES):
        rows = key_rows(ids, key, lane, kv_head, KV_HEADS, BLOCK, TILE)
        address = cache + rows[:, None] * DIM + d[None, :]
        ids = block_ids(table, key + TILE, lane, last, BLOCK, TILE)
        if DIM == DIM_BLOCK:
            k = tl.load(address)
            v = tl.load(address + VALUES)
        else:
            k = tl.load(address, mask=in_dim, other=0.0)
            v = tl.load(address + VALUES, mask=in_dim, other=0.0)
        peak, total, acc = _attend(q, k, v, True, scale, peak, total, acc, False)
    end = tl.minimum(length, past + first_query + QUERIES)
    for key in tl.range(full, end, TILE, num_stages=STAGES):
        known = key + lane < length
        seen = (key + lane)[None, :] <= position[:, None]
        if WINDOW > 0:
            seen = seen & ((key + lane)[None, :] > position[:, None] - WINDOW)
        rows = key_rows(ids, key, lane, kv_head, KV_HEADS, BLOCK, TILE)
        address = cache + rows[:, None] * DIM + d[None, :]
        ids = block_ids(table, key + TILE, lane, last, BLOCK, TILE)
        k = tl.load(address, mask=known[:, None] & in_dim, other=0.0)
        v = tl.load(address + VALUES, mask=known[:, None] & in_dim, other=0.0)
        peak, total, acc = _attend(q, k, v, seen, scale, peak, total, acc, True)
    target = out + at * HEADS * DIM + head * DIM + d[None, :]
    tl.store(target, (acc / total[:, None]).to(out.dtype.element_ty), mask=valid)


def choose_tile(head_dim: int, capability: tuple[int, int]) -> PrefillTile:
    """The shape for a card. On Hopper small tiles win up to some thousand keys, by 10 to 20 %."""
    if capability >= (9, 0):
        return PrefillTile(queries=64, keys=64, stages=3, warps=4)
    if capability >= (8, 9) or capability == (8, 6):
        return PrefillTile(queries=64, keys=32, stages=2, warps=4)
    return PrefillTile(queries=128, keys=32 if head_dim > 64 else 64, stages=2, warps=8)


def prefill_attention(
    qkv: torch.Tensor,
    cache: torch.Tensor,
    geometry: HeadGeometry,
    block_tables: torch.Tensor,
    slots: torch.Tensor,
    query_starts: torch.Tensor,
    context_lengths: torch.Tensor,
    plan: PrefillPlan,
    out: torch.Tensor,
    tile: PrefillTile,
    *,
    scale: float,
    max_tiles: int | None = None,
    window: int | None = None,
) -> None:
    """out[token] = causal attention of every row with more than one token.

    qkv:              [tokens, row_width], queries already turned
    cache:            [blocks, 2, kv_heads, block, dim], holding the chunk's keys too
    block_tables:     i32[slots, blocks a sequence]
    slots:            i32[rows]; query_starts: i32[rows + 1]
    context_lengths:  i32[rows], with the chunk's tokens
    out:              [tokens, num_heads * dim]
    max_tiles:        bound of the plan's count where the host knows one below its capacity
    window:           how many positions back a token sees, itself included
    """
    _prefill_attention_kernel[(geometry.num_heads, max_tiles or plan.rows.shape[0])](
        qkv,
        cache,
        block_tables,
        slots,
        query_starts,
        context_lengths,
        plan.rows,
        plan.starts,
        plan.count,
        out,
        scale * _LOG2_E,
        block_tables.shape[1],
        HEADS=geometry.num_heads,
        KV_HEADS=geometry.num_kv_heads,
        DIM=geometry.head_dim,
        DIM_BLOCK=triton.next_power_of_2(geometry.head_dim),
        BLOCK=cache.shape[3],
        QUERIES=tile.queries,
        TILE=tile.keys,
        STAGES=tile.stages,
        WINDOW=window or 0,
        num_warps=tile.warps,
    )
