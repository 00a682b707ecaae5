"""The choice of a token a row, from edited logits: the largest one, or a draw."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shardline.sampling.cuts import Cuts
from shardline.sampling.draw import draw
from shardline.sampling.random import row_keys
from shardline.sampling.state import SamplingState
from shardline.upload import upload

I32 = npt.NDArray[np.int32]


class Choice(Protocol):
    """How tokens are chosen. All that do give the same tokens."""

    def __call__(
        self, logits: Tensor, slots: Tensor, host_slots: I32, positions: I32
    ) -> tuple[Tensor, Tensor]:
        """Tokens i64[n], and bool[n]: false where no logit is finite or one is NaN.

        `logits`: f32[n, vocab]. `slots`: i32[n], device; `host_slots` the same on the host.
        `positions`: i32[n], host, of the tokens to be sampled. What is returned is valid until the
        next call.
        """
        ...


class TorchChoice:
    """A `Choice` in plain torch, for any device: the reference."""

    def __init__(self, state: SamplingState) -> None:
        self._state = state

    def __call__(
        self, logits: Tensor, slots: Tensor, host_slots: I32, positions: I32
    ) -> tuple[Tensor, Tensor]:
        """See `Choice`."""
        best = logits.argmax(dim=-1)
        valid = torch.isfinite(logits.gather(1, best.unsqueeze(1)).squeeze(1))
        drawn_rows = np.flatnonzero(~self._state.greedy(host_slots))
        if drawn_rows.size:
            rows = upload(drawn_rows.astype(np.int64), logits.device)
            drawn = self.draw(
                logits.index_select(0, rows), slots[rows], host_slots[drawn_rows], positions[drawn_rows]
            )
            best.index_copy_(0, rows, drawn)
        return best, valid

    def draw(self, logits: Tensor, slots: Tensor, host_slots: I32, positions: I32) -> Tensor:
        """i64[n], for rows with a temperature; arguments as in `Choice`, `logits` are overwritten."""
        state = self._state
        numbers = state.numbers(slots)
        cuts = Cuts(
            top_k=numbers["top_k"].int(),
            top_p=numbers["top_p"],
            min_p=numbers["min_p"],
            typical_p=numbers["typical_p"],
            uses_top_k=state.any(host_slots, "top_k", 0.0),
            uses_top_p=state.any(host_slots, "top_p", 1.0),
            uses_min_p=state.any(host_slots, "min_p", 0.0),
            uses_typical_p=state.any(host_slots, "typical_p", 1.0),
        )
        keys = row_keys(state.seeds[host_slots], state.choices[host_slots], positions.astype(np.uint64))
        scaled = logits.div_(numbers["temperature"].unsqueeze(1))
        return draw(scaled, cuts, upload(keys, logits.device), state.token_ids)
