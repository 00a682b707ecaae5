"""A whole sampler gives the same by our kernels as by torch, whatever its rows ask for."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

pytest.importorskip("triton")

from shardline.sampling.choice import Choice, TorchChoice
from shardline.sampling.kernel_choice import KernelChoice
from shardline.sampling.parameters import Parameters
from shardline.sampling.sampler import Sampled, Sampler
from shardline.sampling.state import SamplingState

VOCABULARY = 3000
GREEDY = Parameters(temperature=0.0)
DRAWN = Parameters(temperature=0.9, seed=5)
PENALTIES = {"repetition_penalty": 1.3, "frequency_penalty": 0.5, "presence_penalty": 0.2}


def ids(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


ROWS = [
    GREEDY,
    DRAWN,
    replace(GREEDY, **PENALTIES),
    replace(DRAWN, top_k=40, top_p=0.9, **PENALTIES),
    replace(DRAWN, logprobs=True, top_logprobs=4),
    replace(GREEDY, logprobs=True, repetition_penalty=1.8),
    replace(DRAWN, typical_p=0.6, seed=9),
    replace(DRAWN, typical_p=0.3, top_k=30, min_p=0.02, logprobs=True, top_logprobs=2),
    replace(DRAWN, logit_bias_ids=ids(7, 8), logit_bias_values=np.float32([9.0, -9.0])),
    replace(GREEDY, allowed_token_ids=ids(3, 1999, 2999)),
    replace(DRAWN, min_tokens=2, stop_token_ids=ids(1, 2, 3)),
]


@dataclass
class Bench:
    """A sampler over all rows, in slots of the reverse order."""

    state: SamplingState
    choice: Choice
    last_tokens: torch.Tensor

    @classmethod
    def make(cls, device: torch.device, by_kernels: bool) -> Bench:
        state = SamplingState(len(ROWS), VOCABULARY, device)
        last_tokens = torch.full((len(ROWS),), -1, dtype=torch.int32, device=device)
        for slot, parameters in enumerate(reversed(ROWS)):
            state.admit(slot, parameters, ids(5, 6, 7, 5), 3)
        by = KernelChoice(state, last_tokens, len(ROWS)) if by_kernels else TorchChoice(state)
        return cls(state, by, last_tokens)

    def step(self, logits: torch.Tensor, number: int) -> Sampled:
        host = ids(*reversed(range(len(ROWS))))
        slots = torch.from_numpy(host).to(logits.device)
        sampler = Sampler(self.state, self.choice)
        return sampler.sample(logits.clone(), slots, host, np.full(len(ROWS), 4 + number, np.int32))


def test_every_kind_of_row_beside_every_other(device, generator):
    torch_one, kernel_one = Bench.make(device, False), Bench.make(device, True)
    for number in range(3):
        logits = torch.randn(len(ROWS), VOCABULARY, generator=generator, device=device) * 3
        expected, found = torch_one.step(logits, number), kernel_one.step(logits, number)
        assert found.tokens.tolist() == expected.tokens.tolist()
        assert found.valid.all() and expected.valid.all()
        for name in ("logprobs", "top_ids", "top_logprobs"):
            torch.testing.assert_close(getattr(found, name), getattr(expected, name), equal_nan=True)
        assert kernel_one.last_tokens.tolist() == found.tokens.tolist()[::-1]
