"""Sampling parameters of all slots: numbers on the device, switches on the host.

The host decides from its switches which work a step needs; the numbers themselves never come back.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shardline.sampling.edits import BiasEdit, PenaltyEdit, StopEdit
from shardline.sampling.parameters import Parameters
from shardline.sampling.random import key_bases
from shardline.upload import upload

I32 = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]

COLUMNS = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
)


class SamplingState:
    """One row a slot; the last slot is padding's and greedy."""

    def __init__(self, max_sequences: int, vocab_size: int, device: torch.device) -> None:
        slots = max_sequences + 1
        self.device = device
        self.vocab_size = vocab_size
        self._host = np.zeros((slots, len(COLUMNS)), np.float32)
        self._numbers: Tensor = torch.zeros((slots, len(COLUMNS)), dtype=torch.float32, device=device)
        self._key_bases: Tensor = torch.zeros(slots, dtype=torch.int64, device=device)
        self.seeds = np.zeros(slots, np.uint64)
        self.choices = np.zeros(slots, np.uint64)
        self.min_tokens = np.zeros(slots, np.int32)
        self.num_prompt = np.zeros(slots, np.int32)
        self.top_logprobs = np.zeros(slots, np.int32)
        self.wants_logprobs: Flags = np.zeros(slots, np.bool_)
        self.has_bias: Flags = np.zeros(slots, np.bool_)
        self.has_penalties: Flags = np.zeros(slots, np.bool_)
        self.has_stops: Flags = np.zeros(slots, np.bool_)
        self.constrained: Flags = np.zeros(slots, np.bool_)
        self.bias = BiasEdit(vocab_size, device)
        self.penalties = PenaltyEdit(vocab_size, device)
        self.stops = StopEdit(device)
        self.token_ids: Tensor = torch.arange(vocab_size, dtype=torch.int32, device=device)

    def admit(self, slot: int, parameters: Parameters, tokens: I32, num_prompt: int) -> None:
        """`tokens`: i32[n], the prompt and what was generated before."""
        row = [float(getattr(parameters, name)) for name in COLUMNS]
        self._host[slot] = row
        self._numbers[slot].copy_(upload(np.array(row, np.float32), self.device))
        self.seeds[slot] = parameters.seed
        self.choices[slot] = parameters.choice
        base = key_bases(self.seeds[slot : slot + 1], self.choices[slot : slot + 1]).view(np.int64)
        self._key_bases[slot : slot + 1].copy_(upload(base, self.device))
        self.min_tokens[slot] = parameters.min_tokens
        self.num_prompt[slot] = num_prompt
        self.wants_logprobs[slot] = parameters.logprobs or parameters.top_logprobs > 0
        self.top_logprobs[slot] = parameters.top_logprobs
        self.has_bias[slot] = self.bias.admit(slot, parameters)
        self.has_penalties[slot] = self.penalties.admit(slot, parameters, tokens, num_prompt)
        self.has_stops[slot] = self.stops.admit(slot, parameters)

    def release(self, slot: int) -> None:
        """The slot's sequence is gone: what it needed beside its numbers is free."""
        if self.has_bias[slot] or self.has_penalties[slot] or self.has_stops[slot]:
            for edit in (self.bias, self.penalties, self.stops):
                edit.release(slot)
        self.has_bias[slot] = self.has_penalties[slot] = self.has_stops[slot] = False

    @property
    def device_numbers(self) -> Tensor:
        """f32[slots, columns], in the order of `COLUMNS`."""
        return self._numbers

    @property
    def device_key_bases(self) -> Tensor:
        """i64[slots]: what the random numbers of a slot start from (`random.key_bases`)."""
        return self._key_bases

    def is_plain(self, slots: I32, positions: I32) -> bool:
        """Whether the slots need neither edited or masked logits nor log-probabilities nor typical-p.

        `positions`: of the tokens to be sampled.
        """
        needs = self.has_bias[slots] | self.has_penalties[slots] | self.wants_logprobs[slots]
        early = self.has_stops[slots] & (positions - self.num_prompt[slots] < self.min_tokens[slots])
        return not bool((needs | early | self.constrained[slots] | self.typical(slots)).any())

    def numbers(self, slots: Tensor) -> dict[str, Tensor]:
        """f32[n] a column. `slots`: i32[n], device."""
        picked = self._numbers.index_select(0, slots)
        return dict(zip(COLUMNS, picked.unbind(1), strict=True))

    def any(self, slots: I32, name: str, off: float) -> bool:
        """Whether a slot that is not greedy has the number `name` on."""
        host = self._host[slots]
        used = (host[:, COLUMNS.index(name)] != off) & (host[:, 0] > 0)
        return bool(used.any())

    def typical(self, slots: I32) -> Flags:
        """Which slots draw with typical-p."""
        host = self._host[slots]
        return (host[:, COLUMNS.index("typical_p")] != 1.0) & (host[:, 0] > 0)

    def greedy(self, slots: I32) -> Flags:
        """Which slots take the largest logit."""
        return self._host[slots, 0] == 0
