"""The short way of a draw gives what the long way gives."""

import pytest
import torch

from shardline.sampling import draw as module
from shardline.sampling.cuts import Cuts
from shardline.sampling.draw import draw
from shardline.sampling.random import gumbel

ROWS, WIDTH = 64, 3000


def cuts(top_k=0, top_p=1.0, min_p=0.0, typical_p=1.0) -> Cuts:
    return Cuts(
        top_k=torch.full((ROWS,), top_k, dtype=torch.int32),
        top_p=torch.full((ROWS,), top_p),
        min_p=torch.full((ROWS,), min_p),
        typical_p=torch.full((ROWS,), typical_p),
        uses_top_k=top_k > 0,
        uses_top_p=top_p < 1,
        uses_min_p=min_p > 0,
        uses_typical_p=typical_p < 1,
    )


@pytest.mark.parametrize(
    "asked",
    [
        {"top_k": 5},
        {"top_k": 255},
        {"top_k": 256},
        {"top_k": 1000},
        {"top_p": 0.5},
        {"top_p": 0.9},
        {"top_p": 0.999},
        {"min_p": 0.05},
        {"min_p": 1e-6},
        {"top_k": 40, "top_p": 0.9, "min_p": 0.02},
        {"top_k": 1000, "top_p": 0.7},
        {"top_p": 0.8, "typical_p": 0.6},
        {"typical_p": 0.6},
        {},
    ],
)
@pytest.mark.parametrize("spread", [0.0, 0.5, 4.0])
def test_short_and_long_draws_are_equal(asked, spread):
    """Spread 0: all logits are equal, so no list is short enough; 4: a few tokens have it all."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn((ROWS, WIDTH), generator=generator) * spread
    keys = torch.randint(-(2**31), 2**31, (ROWS, 2), generator=generator).int()
    tokens = torch.arange(WIDTH, dtype=torch.int32)
    expected = cuts(**asked).apply(logits.clone()).add_(gumbel(keys, tokens)).argmax(dim=-1)
    assert torch.equal(draw(logits.clone(), cuts(**asked), keys, tokens), expected)


def test_most_rows_are_decided_by_the_list():
    logits = torch.randn((ROWS, WIDTH), generator=torch.Generator().manual_seed(1)) * 4
    values = logits.topk(module.SHORT_LIST).values
    decided = module._is_decided(values, logits.logsumexp(dim=-1), cuts(top_p=0.9))
    assert bool(decided.all())
