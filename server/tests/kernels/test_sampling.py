"""The sampling kernels draw what the torch sampler draws, from the same counted random numbers."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

pytest.importorskip("triton")

from shardline.kernels.sampling import SamplingScratch, SamplingTable, sample
from shardline.sampling.cuts import Cuts
from shardline.sampling.random import gumbel, key_bases, row_keys

VOCABULARY = 5000
# temperature, top_k, top_p, min_p
SETTINGS = [
    (0.0, 0, 1.0, 0.0),
    (1.0, 0, 1.0, 0.0),
    (0.7, 50, 1.0, 0.0),
    (1.3, 0, 0.9, 0.0),
    (0.9, 40, 0.95, 0.0),
    (1.0, 0, 1.0, 0.1),
    (0.8, 1, 1.0, 0.0),
    (1.0, 3000, 0.999, 0.0),
    (2.5, 7, 0.2, 0.05),
    (0.05, 20, 0.9, 0.0),
]


def expected_tokens(logits, settings, seeds, choices, positions):
    """Every row by itself through the torch sampler's operations."""
    tokens = []
    ids = torch.arange(logits.shape[1], dtype=torch.int32, device=logits.device)
    for row, (temperature, top_k, top_p, min_p) in enumerate(settings):
        x = logits[row : row + 1].float()
        if temperature == 0:
            tokens.append(int(x.argmax()))
            continue
        one = {"dtype": torch.float32, "device": logits.device}
        cuts = Cuts(
            torch.tensor([top_k], dtype=torch.int32, device=logits.device),
            torch.tensor([top_p], **one),
            torch.tensor([min_p], **one),
            torch.tensor([1.0], **one),
            uses_top_k=top_k > 0,
            uses_top_p=top_p < 1,
            uses_min_p=min_p > 0,
            uses_typical_p=False,
        )
        keys = row_keys(seeds[row : row + 1], choices[row : row + 1], positions[row : row + 1])
        noise = gumbel(torch.from_numpy(keys).to(logits.device), ids)
        tokens.append(int((cuts.apply(x / temperature) + noise).argmax()))
    return tokens


def run(logits, settings, seeds, choices, positions, device, scratch=None):
    rows = len(settings)
    # Slots in another order than rows, so that a mix-up of the two shows.
    slots = torch.tensor(list(range(rows))[::-1], dtype=torch.int32, device=device)
    numbers = torch.zeros(rows, 5, device=device)
    numbers[slots.long(), :4] = torch.tensor(settings, dtype=torch.float32, device=device)
    bases = torch.zeros(rows, dtype=torch.int64, device=device)
    bases[slots.long()] = torch.from_numpy(key_bases(seeds, choices).view(np.int64)).to(device)
    scratch = scratch or SamplingScratch.allocate(rows, logits.shape[1], device)
    last = torch.full((rows,), -1, dtype=torch.int32, device=device)
    tokens = torch.full((rows,), -1, dtype=torch.int64, device=device)
    valid = torch.zeros(rows, dtype=torch.bool, device=device)
    at = torch.from_numpy(positions.astype(np.int32)).to(device)
    greedy = all(s[0] == 0 for s in settings)
    sample(logits, slots, at, SamplingTable(numbers, bases), scratch, last, tokens, valid, only_greedy=greedy)
    assert torch.equal(last[slots.long()].long(), tokens)
    assert not scratch.bins.any()
    assert not scratch.list_size.any()
    return tokens.tolist(), valid.tolist()


@pytest.mark.parametrize("spread", [0.3, 1.0, 8.0])
def test_same_tokens_as_the_torch_sampler(spread, device, generator):
    """A small spread makes the short list overflow; a large one leaves few tokens near the top."""
    rows = len(SETTINGS)
    logits = torch.randn(rows, VOCABULARY, generator=generator, device=device) * spread
    numbers = np.random.default_rng(3)
    seeds = numbers.integers(0, 2**64, rows, dtype=np.uint64)
    choices = np.arange(rows, dtype=np.uint64)
    scratch = SamplingScratch.allocate(rows, VOCABULARY, device)
    for position in (0, 5, 100_000):
        positions = np.arange(rows, dtype=np.uint64) + np.uint64(position)
        got, valid = run(logits, SETTINGS, seeds, choices, positions, device, scratch)
        assert got == expected_tokens(logits, SETTINGS, seeds, choices, positions)
        assert all(valid)


def test_half_precision_logits_and_forbidden_tokens(device, dtype, generator):
    rows = len(SETTINGS)
    logits = torch.randn(rows, 700, generator=generator, device=device).to(dtype)
    logits[:, ::3] = float("-inf")
    seeds = np.arange(rows, dtype=np.uint64)
    positions = np.full(rows, 9, np.uint64)
    got, valid = run(logits, SETTINGS, seeds, seeds, positions, device)
    assert got == expected_tokens(logits, SETTINGS, seeds, seeds, positions)
    assert all(valid)
    assert all(token % 3 for token in got)


@pytest.mark.parametrize("greedy", [True, False])
def test_rows_without_a_finite_logit_are_marked(greedy, device, generator):
    settings = [SETTINGS[0]] * 4 if greedy else [SETTINGS[1], SETTINGS[4], SETTINGS[4], SETTINGS[0]]
    logits = torch.randn(4, 300, generator=generator, device=device)
    logits[0, 7] = float("nan")
    logits[1] = float("-inf")
    logits[2, 299] = float("nan")
    seeds = np.arange(4, dtype=np.uint64)
    got, valid = run(logits, settings, seeds, seeds, seeds, device)
    assert valid == [False, False, False, True]
    assert got[3] == int(logits[3].argmax())


def test_draws_follow_the_distribution(device):
    """Gumbel-max over many positions gives the softmax's frequencies."""
    weights = torch.tensor([0.5, 0.25, 0.125, 0.125], device=device)
    rows = 256
    logits = weights.log().repeat(rows, 1)
    settings = [(1.0, 0, 1.0, 0.0)] * rows
    counts = np.zeros(4)
    for turn in range(4):
        seeds = np.full(rows, turn, np.uint64)
        positions = np.arange(rows, dtype=np.uint64)
        got, _ = run(logits, settings, seeds, seeds * 0, positions, device)
        counts += np.bincount(got, minlength=4)
    assert np.abs(counts / counts.sum() - weights.cpu().numpy()).max() < 0.05


@pytest.mark.parametrize("spread", [0.5, 2.0, 6.0])
def test_top_p_takes_its_share_of_what_top_k_left(spread, device, generator):
    """Where top-p alone would need fewer tokens than top-k keeps."""
    settings = [(1.0, top_k, top_p, 0.0) for top_k in (50, 400, 2000) for top_p in (0.1, 0.5, 0.95)] * 2
    rows = len(settings)
    logits = torch.randn(rows, VOCABULARY, generator=generator, device=device) * spread
    seeds = np.arange(rows, dtype=np.uint64)
    got, _ = run(logits, settings, seeds, seeds, seeds, device)
    assert got == expected_tokens(logits, settings, seeds, seeds, seeds)


@pytest.mark.card
@pytest.mark.parametrize("seed", range(12))
def test_random_settings(seed, device, generator):
    """Random vocabularies, rows and cuts; all kinds of rows in one step."""
    chance = random.Random(seed)
    vocabulary, rows = chance.choice((1, 2, 700, 4097, 49152, 128256)), chance.randint(1, 60)
    settings = [
        (
            chance.choice((0.0, 0.1, 0.7, 1.0, 1.8)),
            chance.choice((0, 0, 1, 5, 50, 2000)),
            chance.choice((1.0, 0.1, 0.5, 0.95)),
            chance.choice((0.0, 0.0, 0.05, 0.5)),
        )
        for _ in range(rows)
    ]
    spread = chance.choice((0.5, 2.0, 6.0))
    logits = torch.randn(rows, vocabulary, generator=generator, device=device) * spread
    numbers = np.random.default_rng(seed)
    seeds = numbers.integers(0, 2**63, rows).astype(np.uint64)
    choices = numbers.integers(0, 5, rows).astype(np.uint64)
    positions = numbers.integers(0, 4000, rows).astype(np.uint64)
    got, valid = run(logits, settings, seeds, choices, positions, device)
    assert all(valid)
    assert got == expected_tokens(logits, settings, seeds, choices, positions)
