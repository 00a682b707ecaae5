"""The choice by our kernels: a few launches for all rows of a step, whatever each of them asks for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shardline.kernels.chaining import Chain
from shardline.kernels.sampling import SamplingScratch, SamplingTable, sample
from shardline.sampling.choice import TorchChoice
from shardline.sampling.state import SamplingState
from shardline.upload import upload

I32 = npt.NDArray[np.int32]


class KernelChoice:
    """A `Choice`; rows with typical-p alone are drawn by torch.

    `last_tokens`: i32[slots], device; the chosen tokens are written there as well. `most_rows`: of a step.
    """

    def __init__(self, state: SamplingState, last_tokens: Tensor, most_rows: int) -> None:
        device = last_tokens.device
        self._state = state
        self._last_tokens = last_tokens
        self._table = SamplingTable(state.device_numbers, state.device_key_bases)
        self._scratch = SamplingScratch.allocate(most_rows, state.vocab_size, device)
        self._tokens = torch.zeros(most_rows, dtype=torch.int64, device=device)
        self._valid = torch.zeros(most_rows, dtype=torch.bool, device=device)
        self._by_torch = TorchChoice(state)

    def __call__(
        self, logits: Tensor, slots: Tensor, host_slots: I32, positions: I32
    ) -> tuple[Tensor, Tensor]:
        """See `Choice`."""
        greedy = bool(self._state.greedy(host_slots).all())
        self.launch(logits, slots, upload(positions, logits.device), only_greedy=greedy)
        tokens, valid = self.chosen(len(host_slots))
        typical = np.flatnonzero(self._state.typical(host_slots))
        if typical.size:
            rows = upload(typical.astype(np.int64), logits.device)
            picked = slots.index_select(0, rows)
            drawn = self._by_torch.draw(
                logits.index_select(0, rows), picked, host_slots[typical], positions[typical]
            )
            tokens.index_copy_(0, rows, drawn)
            self._last_tokens.index_copy_(0, picked.long(), drawn.int())
        return tokens, valid

    def launch(
        self, logits: Tensor, slots: Tensor, positions: Tensor, *, only_greedy: bool, chain: Chain = Chain.OFF
    ) -> None:
        """Chooses for [rows, vocab] logits by nothing but launches, so that it can be captured.

        `slots`, `positions`: i32[rows], device. `only_greedy`: no row has a temperature.
        """
        rows = logits.shape[0]
        tokens, valid = self.chosen(rows)
        sample(
            logits,
            slots,
            positions,
            self._table,
            self._scratch,
            self._last_tokens,
            tokens,
            valid,
            only_greedy=only_greedy,
            chain=chain,
        )

    def chosen(self, rows: int) -> tuple[Tensor, Tensor]:
        """What the last launch chose; see `Choice`."""
        return self._tokens[:rows], self._valid[:rows]
