"""The sampler: logits of the rows that sample, in; tokens and what travels beside them, out.

Only the order of operations belongs here; each operation is a file of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shardline.sampling.cuts import Cuts
from shardline.sampling.draw import draw
from shardline.sampling.masks import ApplyMasks, apply_masks
from shardline.sampling.random import row_keys
from shardline.sampling.state import SamplingState

I32 = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Sampled:
    """One entry a row; device tensors.

    `tokens`: i64[n]. `valid`: bool[n], false where no finite logit was left or one was NaN.
    `logprobs`: f32[n], `top_ids`: i64[n, k], `top_logprobs`: f32[n, k], or none when no row asked.
    """

    tokens: Tensor
    valid: Tensor
    logprobs: Tensor | None
    top_ids: Tensor | None
    top_logprobs: Tensor | None


class Masks(Protocol):
    """Grammar masks of some rows; see `ApplyMasks`. `complete`: bool[m], only the end may come."""

    @property
    def rows(self) -> I32: ...
    @property
    def masks(self) -> Tensor: ...
    @property
    def complete(self) -> npt.NDArray[np.bool_]: ...


class Sampler:
    """Samples all rows of a step at once. `apply`: how masks are applied to float32 logits."""

    def __init__(self, state: SamplingState, apply: ApplyMasks = apply_masks) -> None:
        self._state = state
        self._apply = apply

    def sample(
        self, logits: Tensor, slots: Tensor, host_slots: I32, positions: I32, masks: Masks | None = None
    ) -> Sampled:
        """`logits`: f32[n, vocab], may be overwritten. `slots`: i32[n], device; `host_slots` too, on the host.

        `positions`: i32[n], of the tokens to be sampled: how many the sequence has before them.
        """
        state = self._state
        raw = logits
        edits = masks is not None or self._edited(host_slots, positions)
        wants_logprobs = bool(state.wants_logprobs[host_slots].any())
        edited = raw.clone() if edits and wants_logprobs else raw
        if edits:
            self._edit(edited, slots, host_slots, positions, masks)
        tokens, largest = self._choose(edited, slots, host_slots, positions)
        if state.has_penalties[host_slots].any():
            rows = np.flatnonzero(state.has_penalties[host_slots])
            state.penalties.count(host_slots[rows].tolist(), tokens[self._rows(rows)])
        valid = torch.isfinite(largest)
        if not wants_logprobs:
            return Sampled(tokens, valid, None, None, None)
        return self._with_logprobs(raw, tokens, valid, int(state.top_logprobs[host_slots].max()))

    def _rows(self, rows: npt.NDArray[np.intp]) -> Tensor:
        host = torch.from_numpy(rows.astype(np.int64))
        device = self._state.device
        return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host

    def _suppressed(self, slots: I32, positions: I32) -> npt.NDArray[np.bool_]:
        """Which rows have not generated `min_tokens` yet."""
        state = self._state
        return state.has_stops[slots] & (positions - state.num_prompt[slots] < state.min_tokens[slots])

    def _edited(self, slots: I32, positions: I32) -> bool:
        state = self._state
        switches = state.has_bias[slots] | state.has_penalties[slots] | self._suppressed(slots, positions)
        return bool(switches.any())

    def _edit(
        self, logits: Tensor, slots: Tensor, host_slots: I32, positions: I32, masks: Masks | None = None
    ) -> None:
        state = self._state
        rows = np.flatnonzero(state.has_bias[host_slots])
        if rows.size:
            state.bias.apply(logits, self._rows(rows), host_slots[rows].tolist())
        rows = np.flatnonzero(state.has_penalties[host_slots])
        if rows.size:
            numbers = state.numbers(slots[self._rows(rows)])
            state.penalties.apply(
                logits,
                self._rows(rows),
                host_slots[rows].tolist(),
                numbers["repetition_penalty"].unsqueeze(1),
                numbers["frequency_penalty"].unsqueeze(1),
                numbers["presence_penalty"].unsqueeze(1),
            )
        suppressed = self._suppressed(host_slots, positions)
        if masks is not None:
            suppressed[masks.rows[masks.complete]] = False
        rows = np.flatnonzero(suppressed)
        if rows.size:
            state.stops.apply(logits, self._rows(rows), host_slots[rows].tolist())
        if masks is not None:
            self._apply(logits, masks.rows, masks.masks)

    def _choose(
        self, logits: Tensor, slots: Tensor, host_slots: I32, positions: I32
    ) -> tuple[Tensor, Tensor]:
        """Tokens i64[n] and each row's largest logit f32[n], NaN where one is NaN."""
        state = self._state
        best = logits.argmax(dim=-1)
        largest = logits.gather(1, best.unsqueeze(1)).squeeze(1)
        greedy = state.greedy(host_slots)
        if greedy.all():
            return best, largest
        drawn_rows = np.flatnonzero(~greedy)
        rows = self._rows(drawn_rows)
        drawn_slots = host_slots[drawn_rows]
        numbers = state.numbers(slots[rows])
        scaled = logits.index_select(0, rows) / numbers["temperature"].unsqueeze(1)
        cuts = Cuts(
            top_k=numbers["top_k"].int(),
            top_p=numbers["top_p"],
            min_p=numbers["min_p"],
            typical_p=numbers["typical_p"],
            uses_top_k=state.any(drawn_slots, "top_k", 0.0),
            uses_top_p=state.any(drawn_slots, "top_p", 1.0),
            uses_min_p=state.any(drawn_slots, "min_p", 0.0),
            uses_typical_p=state.any(drawn_slots, "typical_p", 1.0),
        )
        drawn = draw(scaled, cuts, self._keys(drawn_slots, positions[drawn_rows]), state.token_ids)
        return best.index_copy(0, rows, drawn), largest

    def _keys(self, slots: I32, positions: I32) -> Tensor:
        """i32[n, 2], device."""
        state = self._state
        keys = row_keys(state.seeds[slots], state.choices[slots], positions.astype(np.uint64))
        host = torch.from_numpy(keys)
        return host.pin_memory().to(state.device, non_blocking=True) if state.device.type == "cuda" else host

    @staticmethod
    def _with_logprobs(raw: Tensor, tokens: Tensor, valid: Tensor, top: int) -> Sampled:
        normalizer = raw.logsumexp(dim=-1, keepdim=True)
        logprobs = raw.gather(1, tokens.unsqueeze(1)).sub_(normalizer).squeeze(1)
        if not top:
            return Sampled(tokens, valid, logprobs, None, None)
        values, ids = raw.topk(min(top, raw.shape[1]), dim=-1)
        return Sampled(tokens, valid, logprobs, ids, values.sub_(normalizer))
