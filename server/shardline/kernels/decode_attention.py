"""Attention of rows that bring one token: rope, cache write and split-KV attention in one launch.

A program handles one KV head of one row and one part (split) of its keys; all query heads of the
group share the loaded keys and values. The newest token's key and value come straight from `qkv`:
the program of split 0 turns them, writes them to the cache and folds them into its running softmax,
so nothing has to be written before the keys are read. The program that finishes last merges the
parts, in order of the splits, so the result does not depend on timing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import triton
import triton.language as tl

from shardline.kernels.chaining import Chain, launch_options, release_next, wait_for_previous
from shardline.kernels.paging import block_ids, key_rows
from shardline.kernels.rotary import HeadGeometry, HeadNorm, rotary_angles

_LOG2_E = 1.4426950408889634
_MIN_GROUP_ROWS = 16
# Of uneven steps. Parts of all rows together, which take memory; those of one row; the shortest ones.
_UNEVEN_PARTS = 2048
_MOST_PARTS = 16
_PART_TOKENS = 1024
_FEW_PART_TOKENS = 256


@dataclass(frozen=True, slots=True)
class DecodeTile:
    """Launch shape: keys a tile, parts a row, least tiles a part, pipeline depth, warps, preload.

    min_tiles: a part is not made smaller than this many tiles, so short rows are not split.
    preload:   the first tile is loaded before the wait on the previous kernel.
    """

    keys: int
    splits: int
    min_tiles: int
    stages: int
    warps: int
    preload: bool


def choose_tile(rows: int, num_kv_heads: int, multiprocessors: int, uneven: bool = False) -> DecodeTile:
    """The shape for a number of rows, measured inside whole decode steps and with kernels one after another.

    Few programs: split the keys until every multiprocessor has one. Many: small tiles, few warps, no parts: a part
    that a row does not need still takes its launch, 4 of 39 us at 400 programs. In between tiles are so small that all
    programs run at once: a few left over would take as long as all the others.

    uneven:  the longest row is far longer than the others, which all would wait for: it is split after all (one of
             32,768 tokens beside 99 of 640: 153 us in place of 1,245). The kernel's code is the same.
    """
    programs = max(rows * num_kv_heads, 1)
    tile = _tile(programs, multiprocessors)
    if not uneven or tile.preload:
        return tile
    part_tokens = _FEW_PART_TOKENS if tile.splits > 1 else _PART_TOKENS
    splits = max(tile.splits, min(_MOST_PARTS, _UNEVEN_PARTS // rows))
    return replace(tile, splits=splits, min_tiles=part_tokens // tile.keys)


def _tile(programs: int, multiprocessors: int) -> DecodeTile:
    if programs * 16 <= multiprocessors * 2:
        return DecodeTile(keys=64, splits=16, min_tiles=1, stages=2, warps=8, preload=True)
    if programs * 2 <= multiprocessors:
        splits = max(2, multiprocessors // programs)
        return DecodeTile(keys=64, splits=splits, min_tiles=2, stages=3, warps=4, preload=False)
    if programs <= multiprocessors:
        return DecodeTile(keys=32, splits=2, min_tiles=2, stages=3, warps=2, preload=False)
    if programs <= 2 * multiprocessors:
        return DecodeTile(keys=64, splits=1, min_tiles=1, stages=3, warps=2, preload=False)
    if programs <= 4 * multiprocessors:
        return DecodeTile(keys=32, splits=1, min_tiles=1, stages=3, warps=1, preload=False)
    if programs <= 10 * multiprocessors:
        return DecodeTile(keys=16, splits=1, min_tiles=1, stages=3, warps=1, preload=False)
    return DecodeTile(keys=32, splits=1, min_tiles=1, stages=2, warps=1, preload=False)


def most_parts(max_rows: int, num_kv_heads: int, multiprocessors: int) -> int:
    """The largest rows * splits that `choose_tile` asks for up to `max_rows` rows."""
    return max(
        rows * choose_tile(rows, num_kv_heads, multiprocessors, uneven).splits
        for rows in range(1, max_rows + 1)
        for uneven in (False, True)
    )


@dataclass(frozen=True, slots=True)
class DecodeScratch:
    """Partial results of split rows. One instance serves all layers.

    accumulators: f32[rows * kv_heads * splits, group, padded dim]
    softmax:      f32[rows * kv_heads * splits, 2, group]: running maximum, running sum
    finished:     i32[rows * kv_heads]: parts done; zero between launches
    """

    accumulators: torch.Tensor
    softmax: torch.Tensor
    finished: torch.Tensor

    @staticmethod
    def allocate(parts: int, rows: int, geometry: HeadGeometry, device: torch.device) -> DecodeScratch:
        """Room for `parts` = the largest rows * splits of any launch, and for `rows` rows."""
        kv_heads = geometry.num_kv_heads
        group = geometry.num_heads // kv_heads
        dim = triton.next_power_of_2(geometry.head_dim)
        return DecodeScratch(
            torch.empty((parts * kv_heads, group, dim), dtype=torch.float32, device=device),
            torch.empty((parts * kv_heads, 2, group), dtype=torch.float32, device=device),
            torch.zeros(rows * kv_heads, dtype=torch.int32, device=device),
        )


def _group_rows(geometry: HeadGeometry) -> int:
    """Query heads of a group, padded to what a matrix instruction takes."""
    group = geometry.num_heads // geometry.num_kv_heads
    return max(_MIN_GROUP_ROWS, triton.next_power_of_2(group))


@triton.jit
def _fold(q, k, v, seen, scale, peak, total, acc):
    """One tile of keys into the running softmax (base 2; Milakov and Gimelshein, 2018)."""
    score = tl.where(seen[None, :], tl.dot(q, k.T) * scale, float("-inf"))
    # Finite: every part sees at least one key or the newest token.
    new_peak = tl.maximum(peak, tl.max(score, 1))
    weight = tl.exp2(score - new_peak[:, None])
    keep = tl.exp2(peak - new_peak)
    total = total * keep + tl.sum(weight, 1)
    acc = tl.dot(weight.to(v.dtype), v, acc * keep[:, None])
    return new_peak, total, acc


@triton.jit
def _load_tile(address, seen, in_dim, PADDED: tl.constexpr):
    """Keys or values of a tile; zero where not seen, so that what a block held before stays out."""
    if PADDED:
        tile = tl.load(address, mask=seen[:, None] & in_dim[None, :], other=0.0)
    else:
        tile = tl.load(address, mask=seen[:, None], other=0.0)
    return tile


@triton.jit(do_not_specialize=["splits", "min_tiles", "table_width"])
def _decode_attention_kernel(
    qkv,  # [tokens, (HEADS + 2 * KV_HEADS) * DIM]
    cache,  # [blocks, 2, KV_HEADS, BLOCK, DIM]
    block_tables,  # i32[slots, table_width]
    slots,  # i32[rows]
    query_starts,  # i32[rows + 1]
    context_lengths,  # i32[rows], with the new token
    out,  # [tokens, HEADS * DIM]
    cos,
    sin,
    query_gamma,
    key_gamma,
    eps,
    accumulators,
    softmax,
    finished,
    scale,  # log2(e) / sqrt(dim): scores are powers of two
    table_width,
    splits,
    min_tiles,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    DIM: tl.constexpr,
    DIM_BLOCK: tl.constexpr,
    ROTARY: tl.constexpr,
    BLOCK: tl.constexpr,
    GROUP_BLOCK: tl.constexpr,
    TILE: tl.constexpr,
    STAGES: tl.constexpr,
    WINDOW: tl.constexpr,
    NORM: tl.constexpr,
    PRELOAD: tl.constexpr,
    CHAIN: tl.constexpr,
):
    kv_head = tl.program_id(0)
    row = tl.program_id(1)
    split = tl.program_id(2)
    GROUP: tl.constexpr = HEADS // KV_HEADS
    # All of these are under way at once; a branch between them would wait for each.
    token = tl.load(query_starts + row)
    next_token = tl.load(query_starts + row + 1)
    position = tl.load(context_lengths + row) - 1
    slot = tl.load(slots + row).to(tl.int64)
    if (next_token - token != 1) | (position < 0):
        return
    first_key = 0
    if WINDOW > 0:
        first_key = tl.maximum(position + 1 - WINDOW, 0)
    first_tile = first_key // TILE
    tiles = tl.cdiv(position, TILE) - first_tile
    # As many parts as are long enough, and none without a tile.
    per_split = tl.maximum(tl.cdiv(tiles, tl.minimum(tl.maximum(tiles // min_tiles, 1), splits)), 1)
    parts = tl.maximum(tl.cdiv(tiles, per_split), 1)
    if split >= parts:
        return

    group = tl.arange(0, GROUP_BLOCK)
    d = tl.arange(0, DIM_BLOCK)
    lane = tl.arange(0, TILE)
    in_dim = d < DIM
    in_group = (group[:, None] < GROUP) & in_dim[None, :]
    table = block_tables + slot * table_width
    start = (first_tile + split * per_split) * TILE
    end = tl.minimum(position, start + per_split * TILE)
    last = tl.maximum(end - 1, 0)
    c, s, partner = rotary_angles(position, cos, sin, d, ROTARY)
    VALUES: tl.constexpr = KV_HEADS * BLOCK * DIM
    if PRELOAD:
        seen0 = (start + lane < end) & (start + lane >= first_key)
        ids = block_ids(table, start, lane, last, BLOCK, TILE)
        rows = key_rows(ids, start, lane, kv_head, KV_HEADS, BLOCK, TILE)
        address = cache + rows[:, None] * DIM + d[None, :]
        k0 = _load_tile(address, seen0, in_dim, DIM != DIM_BLOCK)
        v0 = _load_tile(address + VALUES, seen0, in_dim, DIM != DIM_BLOCK)
    wait_for_previous(CHAIN)

    base = qkv + token.to(tl.int64) * (HEADS + 2 * KV_HEADS) * DIM
    heads = kv_head * GROUP + group[:, None]
    q = tl.load(base + heads * DIM + d[None, :], mask=in_group, other=0.0).to(tl.float32)
    q_far = tl.load(base + heads * DIM + partner[None, :], mask=in_group, other=0.0).to(tl.float32)
    key = base + (HEADS + kv_head) * DIM
    k_new = tl.load(key + d, mask=in_dim, other=0.0).to(tl.float32)
    k_far = tl.load(key + partner, mask=in_dim, other=0.0).to(tl.float32)
    v_new = tl.load(key + KV_HEADS * DIM + d, mask=in_dim, other=0.0)
    if NORM:
        q_scale = tl.rsqrt(tl.sum(q * q, 1) / DIM + eps)[:, None]
        k_scale = tl.rsqrt(tl.sum(k_new * k_new, 0) / DIM + eps)
        q *= q_scale * tl.load(query_gamma + d, mask=in_dim, other=0.0).to(tl.float32)[None, :]
        q_far *= q_scale * tl.load(query_gamma + partner, mask=in_dim, other=0.0).to(tl.float32)
        k_new *= k_scale * tl.load(key_gamma + d, mask=in_dim, other=0.0).to(tl.float32)
        k_far *= k_scale * tl.load(key_gamma + partner, mask=in_dim, other=0.0).to(tl.float32)
    q = (q * c[None, :] + q_far * s[None, :]).to(qkv.dtype.element_ty)
    k_new = (k_new * c + k_far * s).to(qkv.dtype.element_ty)

    own = tl.sum(q.to(tl.float32) * k_new.to(tl.float32)[None, :], 1) * scale
    mine = split == 0
    peak = tl.where(mine, own, float("-inf"))
    total = tl.where(mine, 1.0, 0.0) + tl.zeros((GROUP_BLOCK,), tl.float32)
    acc = tl.where(mine, v_new.to(tl.float32), 0.0)[None, :] + tl.zeros((GROUP_BLOCK, DIM_BLOCK), tl.float32)
    if mine:
        block = tl.load(table + position // BLOCK).to(tl.int64)
        place = ((block * 2 * KV_HEADS + kv_head) * BLOCK + position % BLOCK) * DIM
        tl.store(cache + place + d, k_new, mask=in_dim)
        tl.store(cache + place + VALUES + d, v_new, mask=in_dim)

    if PRELOAD:
        peak, total, acc = _fold(q, k0, v0, seen0, scale, peak, total, acc)
        start += TILE
    ids = block_ids(table, start, lane, last, BLOCK, TILE)
    for tile in tl.range(start, end, TILE, num_stages=STAGES):
        seen = tile + lane < end
        if WINDOW > 0:
            seen = seen & (tile + lane >= first_key)
        rows = key_rows(ids, tile, lane, kv_head, KV_HEADS, BLOCK, TILE)
        address = cache + rows[:, None] * DIM + d[None, :]
        ids = block_ids(table, tile + TILE, lane, last, BLOCK, TILE)
        k = _load_tile(address, seen, in_dim, DIM != DIM_BLOCK)
        v = _load_tile(address + VALUES, seen, in_dim, DIM != DIM_BLOCK)
        peak, total, acc = _fold(q, k, v, seen, scale, peak, total, acc)
    release_next(CHAIN)

    target = out + token.to(tl.int64) * HEADS * DIM + heads * DIM + d[None, :]
    if parts == 1:
        tl.store(target, (acc / total[:, None]).to(out.dtype.element_ty), mask=in_group)
        return
    PART: tl.constexpr = GROUP * DIM_BLOCK
    offset = group[:, None] * DIM_BLOCK + d[None, :]
    real = group < GROUP
    first_part = (row.to(tl.int64) * KV_HEADS + kv_head) * splits
    part = first_part + split
    tl.store(accumulators + part * PART + offset, acc, mask=in_group)
    tl.store(softmax + part * 2 * GROUP + group, peak, mask=real)
    tl.store(softmax + part * 2 * GROUP + GROUP + group, total, mask=real)
    tl.debug_barrier()
    counter = finished + row * KV_HEADS + kv_head
    if tl.atomic_add(counter, 1, sem="acq_rel") == parts - 1:
        tl.store(counter, 0)
        peak = tl.full((GROUP_BLOCK,), float("-inf"), tl.float32)
        total = tl.zeros((GROUP_BLOCK,), tl.float32)
        acc = tl.zeros((GROUP_BLOCK, DIM_BLOCK), tl.float32)
        for index in range(parts):
            at = first_part + index
            head = softmax + at * 2 * GROUP + group
            peak_i = tl.load(head, mask=real, other=0.0, cache_modifier=".cg")
            total_i = tl.load(head + GROUP, mask=real, other=1.0, cache_modifier=".cg")
            acc_i = tl.load(accumulators + at * PART + offset, mask=in_group, other=0.0, cache_modifier=".cg")
            new_peak = tl.maximum(peak, peak_i)
            keep = tl.exp2(peak - new_peak)
            add = tl.exp2(peak_i - new_peak)
            total = total * keep + total_i * add
            acc = acc * keep[:, None] + acc_i * add[:, None]
            peak = new_peak
        tl.store(target, (acc / total[:, None]).to(out.dtype.element_ty), mask=in_group)


def decode_attention(
    qkv: torch.Tensor,
    cache: torch.Tensor,
    geometry: HeadGeometry,
    block_tables: torch.Tensor,
    slots: torch.Tensor,
    query_starts: torch.Tensor,
    context_lengths: torch.Tensor,
    out: torch.Tensor,
    scratch: DecodeScratch,
    tile: DecodeTile,
    *,
    scale: float,
    norm: HeadNorm | None = None,
    window: int | None = None,
    chain: Chain = Chain.OFF,
) -> None:
    """out[token] = attention of every row that brings exactly one token; other rows are left alone.

    qkv:              [tokens, row_width], not turned yet; untouched
    cache:            [blocks, 2, kv_heads, block, dim]; the new keys and values are written
    block_tables:     i32[slots, blocks a sequence]
    slots:            i32[rows]; query_starts: i32[rows + 1]
    context_lengths:  i32[rows], with the new token; 0 = padding
    out:              [tokens, num_heads * dim]
    scale:            usually 1 / sqrt(dim)
    window:           how many positions back a token sees, itself included
    chain:            late becomes at exit where rows are split: the next kernel's programs would take the place of
                      parts that others wait for (at 8 rows of the 8b shape a layer took 129.5 µs, not 124.8)
    """
    rows = slots.shape[0]
    if chain is Chain.LATE and tile.splits > 1:
        chain = Chain.AT_EXIT
    _decode_attention_kernel[(geometry.num_kv_heads, rows, tile.splits)](
        qkv,
        cache,
        block_tables,
        slots,
        query_starts,
        context_lengths,
        out,
        geometry.cos,
        geometry.sin,
        qkv if norm is None else norm.query,
        qkv if norm is None else norm.key,
        0.0 if norm is None else norm.eps,
        scratch.accumulators,
        scratch.softmax,
        scratch.finished,
        scale * _LOG2_E,
        block_tables.shape[1],
        tile.splits,
        tile.min_tiles,
        HEADS=geometry.num_heads,
        KV_HEADS=geometry.num_kv_heads,
        DIM=geometry.head_dim,
        DIM_BLOCK=triton.next_power_of_2(geometry.head_dim),
        ROTARY=geometry.rotary_dim,
        BLOCK=cache.shape[3],
        GROUP_BLOCK=_group_rows(geometry),
        TILE=tile.keys,
        STAGES=tile.stages,
        WINDOW=window or 0,
        NORM=norm is not None,
        PRELOAD=tile.preload,
        CHAIN=int(chain),
        num_warps=tile.warps,
        **launch_options(chain),
    )
