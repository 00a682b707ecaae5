"""Prompts by flash-attn-4 beside our own kernel: the same steps over the same cache."""

import numpy as np
import pytest
import torch

pytest.importorskip("triton")

from shardline.attention import flash_attn_4_backend
from shardline.attention.base import AttentionFacts, HostRows, StepRows
from shardline.attention.flash_attn_4_backend import FlashAttention4
from shardline.attention.registry import UnavailableAttentionError, check_attention
from shardline.attention.triton_backend import TritonAttention
from support.kernel_oracles import relative_error, tolerance

BLOCKS, PADDING_ROWS = 96, 2


@pytest.fixture(autouse=True)
def available(device, monkeypatch):
    """Where the package is missing, or a Hopper GPU, there is nothing to test."""
    try:
        check_attention("flash-attn-4", device, torch.bfloat16)
    except UnavailableAttentionError as error:
        pytest.skip(str(error))
    monkeypatch.setattr(flash_attn_4_backend, "FEWEST_TOKENS", 1)


def make_facts(device, heads, kv_heads, head_dim, window):
    angles = torch.arange(4096.0, device=device)[:, None] / 100 ** torch.linspace(
        0, 1, head_dim // 2, device=device
    )
    return AttentionFacts(
        num_layers=1,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        scale=head_dim**-0.5,
        windows=(window,),
        rope=(angles.cos(), angles.sin()),
        dtype=torch.bfloat16,
        device=device,
        max_step_tokens=4096,
        max_rows=512,
    )


def step(counts, pasts, tables, device):
    """Rows of so many tokens after so many known ones, and some rows of padding."""
    counts = np.array([*counts, *[0] * PADDING_ROWS], np.int32)
    pasts = np.array([*pasts, *[0] * PADDING_ROWS], np.int32)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    rows = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    positions = np.arange(starts[-1]) - starts[rows] + pasts[rows]
    contexts = np.where(counts > 0, pasts + counts, 0).astype(np.int32)
    slots = np.arange(len(counts), dtype=np.int32)
    size = 128
    kv_slots = tables[rows, positions // size] * size + positions % size

    def up(values):
        return torch.tensor(values.astype(np.int32), device=device)

    return StepRows(
        num_rows=len(counts) - PADDING_ROWS,
        num_decode_rows=int((counts == 1).sum()),
        num_tokens=int(starts[-1]),
        uneven=False,
        slots=up(slots),
        query_starts=up(starts),
        context_lengths=up(contexts),
        positions=up(positions),
        token_rows=up(rows),
        kv_slots=up(kv_slots),
        block_tables=up(tables),
        host=HostRows(slots, starts, contexts),
    )


@pytest.mark.parametrize(
    ("heads", "kv_heads", "head_dim", "window"),
    [(8, 2, 128, None), (4, 4, 64, None), (9, 3, 64, None), (8, 2, 128, 200), (4, 2, 96, None)],
)
@pytest.mark.parametrize("seed", range(4))
def test_same_as_our_own_kernel(device, heads, kv_heads, head_dim, window, seed):
    facts = make_facts(device, heads, kv_heads, head_dim, window)
    backends = [TritonAttention(facts), FlashAttention4(facts)]
    for backend in backends:
        backend.allocate(BLOCKS, 128)
    numbers = np.random.default_rng(seed)
    rows = int(numbers.integers(1, 12))
    tables = numbers.permutation(BLOCKS)[: rows * 7].reshape(rows, 7)
    tables = np.concatenate([tables, np.zeros((PADDING_ROWS, 7), np.int64)])
    known = np.zeros(rows, np.int64)
    singles = int(numbers.integers(0, rows + 1))
    for turn in range(4):
        counts = numbers.choice([2, 3, 64, 127, 128, 129, 200], rows)
        if turn:
            counts[:singles] = 1
        made = step(counts, known, tables, device)
        known += counts
        width = (heads + 2 * kv_heads) * head_dim
        qkv = torch.randn(made.num_tokens, width, device=device).bfloat16()
        ours, theirs = (backend.forward(0, qkv.clone(), None, backend.prepare(made)) for backend in backends)
        assert theirs.isfinite().all()
        assert relative_error(theirs, ours.float()) < tolerance(torch.bfloat16)
        first = int(counts[:singles].sum()) if turn else 0
        assert torch.equal(theirs[:first], ours[:first])


def test_many_rows(device):
    """From 257 rows on the library takes another way."""
    facts = make_facts(device, 8, 2, 128, None)
    backends = [TritonAttention(facts), FlashAttention4(facts)]
    for backend in backends:
        backend.allocate(320, 128)
    tables = np.concatenate([np.arange(300)[:, None], np.zeros((PADDING_ROWS, 1), np.int64)])
    counts = np.where(np.arange(300) < 280, 1, 100)
    made = step(counts, np.where(counts == 1, 20, 0), tables, device)
    qkv = torch.randn(made.num_tokens, 12 * 128, device=device).bfloat16()
    ours, theirs = (backend.forward(0, qkv.clone(), None, backend.prepare(made)) for backend in backends)
    assert relative_error(theirs, ours.float()) < tolerance(torch.bfloat16)
