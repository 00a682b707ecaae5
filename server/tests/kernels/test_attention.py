"""Attention over the paged cache: any mix of chunks and single tokens against a dense oracle."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
import torch

pytest.importorskip("triton")

from shardline.kernels import decode_attention, prefill_attention
from shardline.kernels.rotary import HeadGeometry, HeadNorm, rope_and_write
from shardline.kernels.target import KernelTarget
from support import kernel_oracles as oracles

EPS = 1e-6
PREFILL = prefill_attention.PrefillTile(queries=16, keys=16, stages=2, warps=4)


@dataclass(frozen=True, slots=True)
class Chunk:
    """One row of a step: tokens already in the cache, tokens that it brings."""

    past: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer with its cache; tables map each sequence to shuffled blocks."""

    geometry: HeadGeometry
    norm: HeadNorm | None
    cache: torch.Tensor
    tables: torch.Tensor

    @property
    def scale(self) -> float:
        return self.geometry.head_dim**-0.5


def make_layer(
    generator, device, dtype, *, heads, kv_heads, dim, rotary, block, sequences, norm, longest=256
):
    angle = torch.randn(longest, rotary // 2, generator=generator, device=device)
    geometry = HeadGeometry(heads, kv_heads, dim, angle.cos(), angle.sin())
    per_sequence = -(-longest // block)
    blocks = sequences * per_sequence
    # What a block held before must never show: the cache starts full of NaN.
    cache = torch.full((blocks, 2, kv_heads, block, dim), float("nan"), dtype=dtype, device=device)
    order = torch.randperm(blocks, generator=generator, device=device)
    tables = order.view(sequences, per_sequence).to(torch.int32)
    head_norm = None
    if norm:
        query = torch.randn(dim, generator=generator, device=device).to(dtype)
        key = torch.randn(dim, generator=generator, device=device).to(dtype)
        head_norm = HeadNorm(query, key, EPS)
    return Layer(geometry, head_norm, cache, tables)


def split_and_turn(layer, qkv, positions):
    """Queries, keys, values of [tokens, width] in float32, normed and turned."""
    g = layer.geometry
    q, k, v = (
        qkv.float().view(qkv.shape[0], -1, g.head_dim).split([g.num_heads, g.num_kv_heads, g.num_kv_heads], 1)
    )
    if layer.norm is not None:
        q = oracles.rms_norm(q, layer.norm.query, EPS)
        k = oracles.rms_norm(k, layer.norm.key, EPS)
    q = oracles.rotate(q, positions, g.cos, g.sin)
    return q, oracles.rotate(k, positions, g.cos, g.sin), v


def write_cache(layer, slot, positions, keys, values):
    block = layer.cache.shape[3]
    ids = layer.tables[slot][positions.long() // block].long()
    offset = positions.long() % block
    layer.cache[ids, 0, :, offset] = keys.to(layer.cache.dtype)
    layer.cache[ids, 1, :, offset] = values.to(layer.cache.dtype)


def read_cache(layer, slot, length):
    block = layer.cache.shape[3]
    at = torch.arange(length, device=layer.cache.device)
    ids = layer.tables[slot][at // block].long()
    return layer.cache[ids, 0, :, at % block].float(), layer.cache[ids, 1, :, at % block].float()


def run_step(layer, chunks, generator, dtype, decode_tile, prefill_tile, window=None, padding=3):
    """Fills the past of every chunk, runs both kernels on the step, compares with the oracle."""
    device = layer.cache.device
    g = layer.geometry
    slots = torch.randperm(layer.tables.shape[0], generator=generator, device=device)[: len(chunks)]
    counts = [c.tokens for c in chunks]
    starts = torch.tensor([0, *torch.tensor(counts).cumsum(0).tolist()])
    tokens = int(starts[-1])
    qkv = torch.randn(tokens + padding, g.row_width, generator=generator, device=device).to(dtype)
    positions = torch.cat([torch.arange(c.past, c.past + c.tokens) for c in chunks]).to(device)
    queries, keys, values = split_and_turn(layer, qkv[:tokens], positions)
    for slot, chunk in zip(slots.tolist(), chunks, strict=True):
        shape = (chunk.past, g.num_kv_heads, g.head_dim)
        past = torch.arange(chunk.past, device=device)
        before = [torch.randn(shape, generator=generator, device=device) for _ in range(2)]
        write_cache(layer, slot, past, *before)

    block = layer.cache.shape[3]
    rows = torch.repeat_interleave(torch.arange(len(chunks)), torch.tensor(counts)).to(device)
    ids = layer.tables[slots[rows], positions // block]
    pad = torch.zeros(padding, dtype=torch.int32, device=device)
    kv_slots = torch.cat([(ids * block + positions % block).to(torch.int32), pad - 1])
    i32 = {"dtype": torch.int32, "device": device}
    query_starts = torch.tensor([*starts.tolist(), tokens, tokens], **i32)  # two padding rows
    lengths = torch.tensor([c.past + c.tokens for c in chunks] + [0, 0], **i32)
    row_slots = torch.cat([slots.to(torch.int32), pad[:2]])
    out = torch.full((tokens + padding, g.num_heads * g.head_dim), 7.0, dtype=dtype, device=device)
    rope_and_write(
        qkv,
        layer.cache,
        g,
        query_starts,
        torch.cat([rows.to(torch.int32), pad]),
        torch.cat([positions.to(torch.int32), pad]),
        kv_slots,
        norm=layer.norm,
        skip_single_token_rows=True,
    )
    plan = prefill_attention.PrefillPlan.allocate(tokens, len(chunks) + 2, prefill_tile, device)
    prefill_attention.plan_tiles(query_starts, plan, prefill_tile)
    common = (layer.tables, row_slots, query_starts, lengths)
    prefill_attention.prefill_attention(
        qkv, layer.cache, g, *common, plan, out, prefill_tile, scale=layer.scale, window=window
    )
    scratch = decode_attention.DecodeScratch.allocate(
        (len(chunks) + 2) * decode_tile.splits, len(chunks) + 2, g, device
    )
    decode_attention.decode_attention(
        qkv,
        layer.cache,
        g,
        *common,
        out,
        scratch,
        decode_tile,
        scale=layer.scale,
        norm=layer.norm,
        window=window,
    )
    assert not scratch.finished.any()
    assert (out[tokens:] == 7.0).all(), "a padding token was written"
    for index, (slot, chunk) in enumerate(zip(slots.tolist(), chunks, strict=True)):
        span = slice(int(starts[index]), int(starts[index + 1]))
        length = chunk.past + chunk.tokens
        cached_keys, cached_values = read_cache(layer, slot, length)
        assert oracles.relative_error(cached_keys[chunk.past :], keys[span]) < oracles.tolerance(dtype)
        assert oracles.relative_error(cached_values[chunk.past :], values[span]) < 1e-2
        expected = oracles.attend(queries[span], cached_keys, cached_values, layer.scale, window)
        error = oracles.relative_error(out[span], expected.flatten(1))
        assert error < 2 * oracles.tolerance(dtype), (index, chunk, error)


MIXED = [
    Chunk(past=0, tokens=1),
    Chunk(past=16, tokens=1),
    Chunk(past=97, tokens=1),
    Chunk(past=0, tokens=37),
    Chunk(past=5, tokens=2),
    Chunk(past=33, tokens=1),
    Chunk(past=64, tokens=33),
    Chunk(past=15, tokens=17),
]


@pytest.mark.parametrize(
    ("heads", "kv_heads", "dim", "rotary", "block", "norm"),
    [
        (4, 2, 64, 64, 16, False),
        (3, 1, 128, 128, 32, True),
        (4, 4, 96, 96, 64, False),
        (18, 1, 64, 32, 16, True),
    ],
)
@pytest.mark.parametrize("splits", [1, 3])
def test_mixed_step(heads, kv_heads, dim, rotary, block, norm, splits, device, dtype, generator):
    layer = make_layer(
        generator,
        device,
        dtype,
        heads=heads,
        kv_heads=kv_heads,
        dim=dim,
        rotary=rotary,
        block=block,
        sequences=9,
        norm=norm,
    )
    decode = decode_attention.DecodeTile(16, splits, 1, 2, 4, preload=splits == 3)
    prefill = prefill_attention.PrefillTile(queries=16, keys=32, stages=2, warps=4)
    run_step(layer, MIXED, generator, dtype, decode, prefill)


@pytest.mark.parametrize("window", [1, 7, 40])
def test_window(window, device, dtype, generator):
    layer = make_layer(
        generator,
        device,
        dtype,
        heads=4,
        kv_heads=2,
        dim=64,
        rotary=64,
        block=16,
        sequences=9,
        norm=False,
    )
    decode = decode_attention.DecodeTile(16, 4, 1, 2, 4, preload=False)
    run_step(layer, MIXED, generator, dtype, decode, PREFILL, window=window)


def plain_layer(generator, device, dtype, longest=256):
    sizes = {"heads": 4, "kv_heads": 2, "dim": 64, "rotary": 64, "block": 64, "sequences": 5}
    return make_layer(generator, device, dtype, **sizes, norm=False, longest=longest)


def test_short_rows_are_not_split(device, dtype, generator):
    layer = plain_layer(generator, device, dtype)
    decode = decode_attention.DecodeTile(16, 8, 4, 2, 4, preload=True)
    chunks = [Chunk(0, 1), Chunk(63, 1), Chunk(200, 1)]
    run_step(layer, chunks, generator, dtype, decode, PREFILL)


def test_a_row_far_longer_than_the_others_is_split(device, dtype, generator):
    layer = plain_layer(generator, device, dtype, longest=3072)
    chunks = [Chunk(9, 1), Chunk(2900, 1), Chunk(0, 12), Chunk(130, 1)]
    decode = decode_attention.choose_tile(100, 8, 132, uneven=True)
    assert decode.splits > 1 and 2900 // decode.keys >= 2 * decode.min_tiles
    run_step(layer, chunks, generator, dtype, decode, PREFILL)


@pytest.mark.card
@pytest.mark.parametrize("seed", range(24))
def test_random_steps(seed, device, dtype, generator):
    """Random heads, lengths and mixes, with the tiles that serve."""
    chance = random.Random(seed)
    kv_heads, dim = chance.randint(1, 8), chance.choice((64, 80, 96, 128))
    layer = make_layer(
        generator,
        device,
        dtype,
        heads=kv_heads * chance.choice((1, 2, 3, 4, 8)),
        kv_heads=kv_heads,
        dim=dim,
        rotary=chance.choice((dim, dim // 2)),
        block=chance.choice((16, 32, 64, 128)),
        sequences=41,
        norm=chance.random() < 0.5,
        longest=2048,
    )
    chunks = []
    for _ in range(chance.randint(1, 40)):
        tokens = 1 if chance.random() < 0.6 else chance.randint(2, 300)
        past = chance.choice((0, 1, 15, 63, 64, chance.randint(0, 1700)))
        chunks.append(Chunk(past, tokens))
    target = KernelTarget.of(device)
    uneven = chance.random() < 0.5
    decode = decode_attention.choose_tile(len(chunks) + 2, kv_heads, target.multiprocessors, uneven)
    prefill = prefill_attention.choose_tile(dim, target.capability)
    window = chance.choice((None, None, 1, 33, 500))
    run_step(layer, chunks, generator, dtype, decode, prefill, window=window, padding=chance.randint(2, 9))


def test_tiles_with_most_keys_come_first(device):
    tile = prefill_attention.PrefillTile(queries=16, keys=16, stages=2, warps=4)
    starts = torch.tensor([0, 1, 40, 41, 105, 106, 106], dtype=torch.int32, device=device)
    plan = prefill_attention.PrefillPlan.allocate(106, 6, tile, device)
    prefill_attention.plan_tiles(starts, plan, tile)
    count = int(plan.count)
    tiles = list(zip(plan.starts[:count].tolist(), plan.rows[:count].tolist(), strict=True))
    # Row 1 has 39 tokens, row 3 has 64; rows of one token and empty rows have no tile.
    assert tiles == [(48, 3), (32, 1), (32, 3), (16, 1), (16, 3), (0, 1), (0, 3)]


@pytest.mark.parametrize("rows", [1, 2, 8, 32, 256, 1024])
@pytest.mark.parametrize("multiprocessors", [46, 108, 132])
def test_chosen_tiles_are_launchable(rows, multiprocessors):
    tile = decode_attention.choose_tile(rows, 8, multiprocessors)
    assert tile.splits >= 1
    assert tile.min_tiles >= 1
    assert tile.keys in (16, 32, 64, 128)


@pytest.mark.parametrize("kv_heads", [1, 4, 8])
def test_uneven_steps_split_their_rows_by_the_same_code(kv_heads):
    for rows in (1, 2, 8, 16, 32, 100, 256, 1024):
        even, uneven = (decode_attention.choose_tile(rows, kv_heads, 132, flag) for flag in (False, True))
        code = ("keys", "stages", "warps", "preload")
        assert [getattr(even, name) for name in code] == [getattr(uneven, name) for name in code]
        assert uneven.splits > 1 and uneven.splits >= even.splits
        assert rows * uneven.splits <= decode_attention.most_parts(1024, kv_heads, 132) <= 2048
