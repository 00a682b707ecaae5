"""Kernels that work on rows by themselves: embedding, norm, activation."""

from __future__ import annotations

import random

import pytest
import torch

pytest.importorskip("triton")

from shardline.kernels.embedding import embed, resolve_tokens
from shardline.kernels.rms_norm import rms_norm
from shardline.kernels.swiglu import swiglu
from support import kernel_oracles as oracles

EPS = 1e-5


@pytest.mark.parametrize(("rows", "hidden"), [(1, 64), (3, 576), (7, 2048), (2, 96)])
def test_norm_equals_the_oracle(rows, hidden, device, dtype, generator):
    x = torch.randn(rows, hidden, generator=generator, device=device).to(dtype)
    gamma = torch.randn(hidden, generator=generator, device=device).to(dtype)
    out = torch.full_like(x, float("nan"))
    rms_norm(x, gamma, EPS, out)
    expected = oracles.rms_norm(x, gamma, EPS)
    assert oracles.relative_error(out, expected) < oracles.tolerance(dtype)


@pytest.mark.parametrize(("rows", "hidden"), [(1, 64), (5, 576)])
def test_norm_adds_the_residual_first(rows, hidden, device, dtype, generator):
    residual = torch.randn(rows, hidden, generator=generator, device=device).to(dtype)
    delta = torch.randn(rows, hidden, generator=generator, device=device).to(dtype)
    gamma = torch.randn(hidden, generator=generator, device=device).to(dtype)
    total = (residual.float() + delta.float()).to(dtype)
    rms_norm(residual, gamma, EPS, delta, delta=delta)
    assert torch.equal(residual, total)
    expected = oracles.rms_norm(total, gamma, EPS)
    assert oracles.relative_error(delta, expected) < oracles.tolerance(dtype)


def test_norm_of_chosen_rows_leaves_the_residual(device, dtype, generator):
    residual = torch.randn(9, 128, generator=generator, device=device).to(dtype)
    delta = torch.randn(9, 128, generator=generator, device=device).to(dtype)
    gamma = torch.randn(128, generator=generator, device=device).to(dtype)
    before = residual.clone()
    rows = torch.tensor([8, 0, 3], dtype=torch.int32, device=device)
    out = torch.full((3, 128), float("nan"), dtype=dtype, device=device)
    rms_norm(residual, gamma, EPS, out, delta=delta, source_rows=rows)
    expected = oracles.rms_norm((before.float() + delta.float()).to(dtype)[rows.long()], gamma, EPS)
    assert torch.equal(residual, before)
    assert oracles.relative_error(out, expected) < oracles.tolerance(dtype)


@pytest.mark.parametrize(("rows", "width"), [(1, 128), (4, 1536), (3, 1025)])
def test_swiglu_equals_the_oracle(rows, width, device, dtype, generator):
    gate_up = torch.randn(rows, 2 * width, generator=generator, device=device).to(dtype)
    out = torch.full((rows, width), float("nan"), dtype=dtype, device=device)
    swiglu(gate_up, out)
    assert oracles.relative_error(out, oracles.swiglu(gate_up)) < oracles.tolerance(dtype)


def test_tokens_are_given_or_the_last_of_their_sequence(device):
    i32 = {"dtype": torch.int32, "device": device}
    given = torch.tensor([7, -1, 0, -1, 9] * 100, **i32)
    rows = torch.tensor([0, 1, 2, 0, 2] * 100, **i32)
    slots, last = torch.tensor([3, 0, 2], **i32), torch.tensor([40, 41, 42, 43], **i32)
    out = torch.full_like(given, -5)
    resolve_tokens(given, rows, slots, last, out)
    assert out.tolist() == [7, 40, 0, 43, 9] * 100


def test_embedding_prepares_the_first_norm(device, dtype, generator):
    table = torch.randn(50, 96, generator=generator, device=device).to(dtype)
    gamma = torch.randn(96, generator=generator, device=device).to(dtype)
    tokens = torch.tensor([7, 49, 11, 0], dtype=torch.int32, device=device)
    residual = torch.full((4, 96), float("nan"), dtype=dtype, device=device)
    scaled = torch.full_like(residual, float("nan"))
    sums = torch.full((4, 6), float("nan"), device=device)
    embed(tokens, table, residual, gamma=gamma, scaled=scaled, square_sums=sums)
    expected = table[torch.tensor([7, 49, 11, 0], device=device)]
    assert torch.equal(residual, expected)
    assert oracles.relative_error(scaled, expected.float() * gamma.float()) < oracles.tolerance(dtype)
    assert oracles.relative_error(sums.sum(1), expected.float().square().sum(1)) < 1e-5


def test_embedding_of_a_stale_padding_token_stays_inside_the_table(device, dtype, generator):
    table = torch.randn(5, 32, generator=generator, device=device).to(dtype)
    tokens = torch.tensor([2**31 - 1], dtype=torch.int32, device=device)
    residual = torch.full((1, 32), float("nan"), dtype=dtype, device=device)
    embed(tokens, table, residual)
    assert torch.equal(residual[0], table[4])


@pytest.mark.card
@pytest.mark.parametrize("seed", range(16))
def test_random_rows(seed, device, dtype, generator):
    """Norm with and without residual, and SwiGLU, of random widths and numbers of rows."""
    chance = random.Random(seed)
    rows, width = chance.randint(1, 3000), chance.choice((1, 33, 96, 576, 1025, 2048, 4096, 8192, 14336))
    x = torch.randn(rows, width, generator=generator, device=device).to(dtype)
    delta = torch.randn(rows, width, generator=generator, device=device).to(dtype)
    gamma = torch.randn(width, generator=generator, device=device).to(dtype)
    out = torch.full_like(x, float("nan"))
    rms_norm(x, gamma, EPS, out)
    assert oracles.relative_error(out, oracles.rms_norm(x, gamma, EPS)) < oracles.tolerance(dtype)
    total = (x.float() + delta.float()).to(dtype)
    gate_up = torch.cat([x, delta], 1)
    swiglu(gate_up, out)
    assert oracles.relative_error(out, oracles.swiglu(gate_up)) < oracles.tolerance(dtype)
    rms_norm(x, gamma, EPS, delta, delta=delta)
    assert torch.equal(x, total)
    assert oracles.relative_error(delta, oracles.rms_norm(total, gamma, EPS)) < oracles.tolerance(dtype)
