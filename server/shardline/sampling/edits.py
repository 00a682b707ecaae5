"""Edits of single logits before sampling: bias, allowed tokens, penalties, min_tokens.

Each is on for the few rows that ask for it; the others are not touched.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shardline.sampling.parameters import Parameters
from shardline.sampling.pool import RowPool
from shardline.upload import upload

I32 = npt.NDArray[np.int32]
NEGATIVE_INFINITY = float("-inf")


def _index(values: I32 | list[int], device: torch.device) -> Tensor:
    return upload(np.asarray(values, dtype=np.int64), device)


class BiasEdit:
    """Adds `logit_bias`; with `allowed_token_ids` all other tokens get -inf."""

    def __init__(self, width: int, device: torch.device) -> None:
        self._device = device
        self._pool = RowPool(width, torch.float32, device)

    def admit(self, slot: int, parameters: Parameters) -> bool:
        """Whether the sequence needs this edit."""
        self.release(slot)
        allowed, ids = parameters.allowed_token_ids, parameters.logit_bias_ids
        if not len(allowed) and not len(ids):
            return False
        row = self._pool.take(slot)
        if len(allowed):
            row.fill_(NEGATIVE_INFINITY)
            row[_index(allowed, self._device)] = 0.0
        if len(ids):
            values = torch.tensor(parameters.logit_bias_values, device=self._device)
            row.index_add_(0, _index(ids, self._device), values)
        return True

    def release(self, slot: int) -> None:
        """The slot's sequence is gone."""
        self._pool.release(slot)

    def apply(self, logits: Tensor, rows: Tensor, slots: list[int]) -> None:
        """`logits`: f32[n, width], edited in `rows`: i64[m], which belong to `slots`."""
        bias = self._pool.rows[_index(self._pool.index(slots), self._device)]
        logits.index_add_(0, rows, bias)


class PenaltyEdit:
    """Repetition (Keskar et al. 2019), frequency and presence penalties.

    A token seen: a positive logit is divided by `repetition`, a negative one multiplied. A token
    generated c > 0 times: minus `c * frequency + presence`.
    """

    def __init__(self, width: int, device: torch.device) -> None:
        self._device = device
        self._prompt = RowPool(width, torch.bool, device)
        self._generated = RowPool(width, torch.int32, device)

    def admit(self, slot: int, parameters: Parameters, tokens: I32, num_prompt: int) -> bool:
        """Whether the sequence needs this edit. `tokens`: prompt, then generated before."""
        self.release(slot)
        if not parameters.has_penalties:
            return False
        self._prompt.take(slot)[_index(tokens[:num_prompt], self._device)] = True
        counts = self._generated.take(slot)
        generated = _index(tokens[num_prompt:], self._device)
        counts.index_add_(0, generated, torch.ones_like(generated, dtype=torch.int32))
        return True

    def release(self, slot: int) -> None:
        """The slot's sequence is gone."""
        self._prompt.release(slot)
        self._generated.release(slot)

    def apply(
        self,
        logits: Tensor,
        rows: Tensor,
        slots: list[int],
        repetition: Tensor,
        frequency: Tensor,
        presence: Tensor,
    ) -> None:
        """The three: f32[m, 1] of the rows edited."""
        counts = self._generated.rows[_index(self._generated.index(slots), self._device)]
        prompt = self._prompt.rows[_index(self._prompt.index(slots), self._device)]
        values = logits.index_select(0, rows)
        seen = prompt | (counts > 0)
        penalized = torch.where(values > 0, values / repetition, values * repetition)
        values = torch.where(seen, penalized, values)
        values -= counts * frequency + (counts > 0) * presence
        logits.index_copy_(0, rows, values)

    def count(self, slots: list[int], tokens: Tensor) -> None:
        """`tokens`: i64[m], just sampled by `slots`."""
        rows = _index(self._generated.index(slots), self._device)
        one = torch.ones_like(tokens, dtype=torch.int32)
        self._generated.rows.index_put_((rows, tokens), one, accumulate=True)


class StopEdit:
    """Stop tokens get -inf until `min_tokens` are generated. Their few logits are written, no others read."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stops: dict[int, I32] = {}
        self._lowest = torch.tensor(NEGATIVE_INFINITY, dtype=torch.float32, device=device)

    def admit(self, slot: int, parameters: Parameters) -> bool:
        """Whether the sequence needs this edit."""
        self.release(slot)
        if not parameters.min_tokens or not len(parameters.stop_token_ids):
            return False
        self._stops[slot] = parameters.stop_token_ids
        return True

    def release(self, slot: int) -> None:
        """The slot's sequence is gone."""
        self._stops.pop(slot, None)

    def apply(self, logits: Tensor, rows: npt.NDArray[np.intp], slots: list[int]) -> None:
        """`rows`: host integers[m], of sequences that have not generated enough yet."""
        stops = [self._stops[slot] for slot in slots]
        places = np.stack([np.repeat(rows, [len(ids) for ids in stops]), np.concatenate(stops)])
        picked, tokens = upload(places.astype(np.int64), self._device).unbind(0)
        logits.index_put_((picked, tokens), self._lowest)
