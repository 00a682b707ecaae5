"""Random numbers are a function of seed, choice, position and token: against plain integers."""

import math

import numpy as np
import torch

from shardline.sampling.random import gumbel, row_keys, uniform

MASK_32, MASK_64 = (1 << 32) - 1, (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15


def mix64(x: int) -> int:
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK_64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK_64
    return x ^ (x >> 31)


def mix32(x: int) -> int:
    x = ((x ^ (x >> 16)) * 0x85EBCA6B) & MASK_32
    x = ((x ^ (x >> 13)) * 0xC2B2AE35) & MASK_32
    return x ^ (x >> 16)


def reference(seed: int, choice: int, position: int, token: int) -> float:
    key = mix64((seed + GOLDEN) & MASK_64)
    key = mix64(key ^ ((choice + GOLDEN) & MASK_64))
    key = mix64((key + (position + 1) * GOLDEN) & MASK_64)
    hashed = mix32(((token * 0x9E3779B1) & MASK_32) ^ (key & MASK_32))
    hashed = mix32((hashed + (key >> 32)) & MASK_32)
    return float(np.float32(np.float32(hashed & 0x7FFFFFFF) + np.float32(0.5)) * np.float32(2.0**-31))


def keys(*rows: tuple[int, int, int]) -> torch.Tensor:
    seeds, choices, positions = (np.array(column, np.uint64) for column in zip(*rows, strict=True))
    return torch.from_numpy(row_keys(seeds, choices, positions))


def test_numbers_equal_the_reference():
    rows = ((0, 0, 0), (MASK_64, 3, 2_000_000), (1 << 63, 0, 1), (42, 1, 7))
    tokens = torch.tensor([0, 1, 2, 49151, 128255], dtype=torch.int32)
    found = uniform(keys(*rows), tokens)
    expected = [[reference(*row, token) for token in tokens.tolist()] for row in rows]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=0)


def test_numbers_do_not_depend_on_the_batch():
    tokens = torch.arange(1000, dtype=torch.int32)
    rows = tuple((seed, 0, seed % 5) for seed in range(8))
    together = gumbel(keys(*rows), tokens)
    for place, row in enumerate(rows):
        assert torch.equal(gumbel(keys(row), tokens)[0], together[place])


def test_numbers_are_uniform_and_gumbel():
    tokens = torch.arange(200_000, dtype=torch.int32)
    u = uniform(keys((1, 0, 0)), tokens)[0]
    assert float(u.min()) > 0.0 and float(u.max()) <= 1.0
    counts = torch.histc(u, 50, 0.0, 1.0)
    expected = len(u) / 50
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert chi_square < 49 + 4 * math.sqrt(2 * 49)
    g = gumbel(keys((1, 0, 0)), tokens)[0]
    assert abs(float(g.mean()) - 0.5772) < 0.02
    assert abs(float(g.var()) - math.pi**2 / 6) < 0.05
    neighbours = uniform(keys((1, 0, 0), (1, 0, 1), (1, 1, 0), (2, 0, 0)), tokens)
    correlation = torch.corrcoef(neighbours)
    assert float((correlation - torch.eye(4)).abs().max()) < 0.01
