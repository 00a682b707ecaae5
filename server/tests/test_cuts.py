"""Cuts of the distribution against sorting references in numpy."""

import numpy as np
import pytest
import torch

from shardline.sampling.cuts import cut_min_p, cut_top_k, cut_top_p, cut_typical_p

ROWS, WIDTH = 6, 500


@pytest.fixture
def logits():
    return torch.randn((ROWS, WIDTH), generator=torch.Generator().manual_seed(3)) * 3


def probabilities(row: np.ndarray) -> np.ndarray:
    weights = np.exp(row.astype(np.float64) - row.max())
    return weights / weights.sum()


def kept(values: torch.Tensor) -> list[set[int]]:
    return [set(np.flatnonzero(np.isfinite(row)).tolist()) for row in values.numpy()]


def nucleus(order: np.ndarray, weights: np.ndarray, needed: float) -> set[int]:
    """The first of `order` whose weights reach `needed`."""
    reached = np.cumsum(weights[order])
    return set(order[: int(np.searchsorted(reached, needed)) + 1].tolist())


def test_top_k(logits):
    top_k = torch.tensor([1, 2, 50, 499, 500, 0], dtype=torch.int32)
    expected = [
        set(np.argsort(-row)[: k or WIDTH].tolist())
        for row, k in zip(logits.numpy(), top_k.tolist(), strict=True)
    ]
    assert kept(cut_top_k(logits.clone(), top_k)) == expected


def test_top_k_keeps_what_equals_the_last():
    logits = torch.tensor([[1.0, 3.0, 2.0, 2.0, 0.0]])
    assert kept(cut_top_k(logits, torch.tensor([2], dtype=torch.int32))) == [{1, 2, 3}]


def test_top_p(logits):
    top_p = torch.tensor([0.001, 0.1, 0.5, 0.9, 0.999, 1.0])
    expected = []
    for row, p in zip(logits.numpy(), top_p.tolist(), strict=True):
        expected.append(nucleus(np.argsort(-row), probabilities(row), p) if p < 1 else set(range(WIDTH)))
    assert kept(cut_top_p(logits.clone(), top_p)) == expected


def test_min_p(logits):
    min_p = torch.tensor([0.0, 0.01, 0.1, 0.5, 0.99, 1.0])
    expected = []
    for row, p in zip(logits.numpy(), min_p.tolist(), strict=True):
        weights = probabilities(row)
        expected.append(set(np.flatnonzero(weights >= p * weights.max() * (1 - 1e-6)).tolist()))
    assert kept(cut_min_p(logits.clone(), min_p)) == expected


def test_typical_p(logits):
    typical_p = torch.tensor([0.05, 0.2, 0.5, 0.9, 0.99, 1.0])
    expected = []
    for row, p in zip(logits.numpy(), typical_p.tolist(), strict=True):
        weights = probabilities(row)
        entropy = -(weights * np.log(weights)).sum()
        order = np.argsort(np.abs(-np.log(weights) - entropy))
        expected.append(nucleus(order, weights, p) if p < 1 else set(range(WIDTH)))
    assert kept(cut_typical_p(logits.clone(), typical_p)) == expected


def test_a_cut_counts_only_what_the_one_before_left():
    logits = torch.log(torch.tensor([[0.4, 0.3, 0.2, 0.1]]))
    cut_top_k(logits, torch.tensor([2], dtype=torch.int32))
    assert kept(cut_top_p(logits, torch.tensor([0.5]))) == [{0}]  # 0.4 / 0.7 reaches it alone
