"""The sampler: logits of the rows that sample, in; tokens and what travels beside them, out.

Only the order of operations belongs here; each operation is a file of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from shardline.sampling.choice import Choice
from shardline.sampling.masks import ApplyMasks, apply_masks
from shardline.sampling.state import SamplingState
from shardline.upload import upload

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
    """Samples all rows of a step at once.

    `choice`: how tokens are chosen. `apply`: how masks are applied to float32 logits.
    """

    def __init__(self, state: SamplingState, choice: Choice, apply: ApplyMasks = apply_masks) -> None:
        self._state = state
        self._choice = choice
        self._apply = apply

    def sample(
        self, logits: Tensor, slots: Tensor, host_slots: I32, positions: I32, masks: Masks | None = None
    ) -> Sampled:
        """`logits`: f32[n, vocab], are overwritten. `slots`: i32[n], device; `host_slots` too, on the host.

        `positions`: i32[n], of the tokens to be sampled: how many the sequence has before them.
        """
        state = self._state
        asked = np.flatnonzero(state.wants_logprobs[host_slots])
        given = self._given(logits, asked, masks is not None or self._edited(host_slots, positions))
        self._edit(logits, slots, host_slots, positions, masks)
        tokens, valid = self._choice(logits, slots, host_slots, positions)
        penalized = np.flatnonzero(state.has_penalties[host_slots])
        if penalized.size:
            state.penalties.count(host_slots[penalized].tolist(), tokens[self._rows(penalized)])
        if given is None:
            return Sampled(tokens, valid, None, None, None)
        most = int(state.top_logprobs[host_slots].max())
        return _with_logprobs(given, self._rows(asked), tokens, valid, most)

    def _given(self, logits: Tensor, asked: npt.NDArray[np.intp], edited: bool) -> Tensor | None:
        """f32[m, vocab]: what the model gave to rows that ask for log-probabilities; none: no row does."""
        if not asked.size:
            return None
        if len(asked) == logits.shape[0] and not edited:
            return logits
        return logits.index_select(0, self._rows(asked))

    def _rows(self, rows: npt.NDArray[np.intp]) -> Tensor:
        return upload(rows.astype(np.int64), self._state.device)

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
            state.stops.apply(logits, rows, host_slots[rows].tolist())
        if masks is not None:
            self._apply(logits, masks.rows, masks.masks)


def _with_logprobs(given: Tensor, rows: Tensor, tokens: Tensor, valid: Tensor, most: int) -> Sampled:
    """`given`: f32[m, vocab] of `rows`: i64[m]. `most`: tokens wanted beside the sampled one. Entries of
    other rows are NaN."""
    normalizer = given.logsumexp(dim=-1, keepdim=True)
    own = given.gather(1, tokens.index_select(0, rows).unsqueeze(1)).sub_(normalizer).squeeze(1)
    logprobs = own.new_full((len(tokens),), float("nan")).index_copy_(0, rows, own)
    if not most:
        return Sampled(tokens, valid, logprobs, None, None)
    values, ids = given.topk(min(most, given.shape[1]), dim=-1)
    shape = (len(tokens), values.shape[1])
    return Sampled(
        tokens,
        valid,
        logprobs,
        ids.new_zeros(shape).index_copy_(0, rows, ids),
        values.new_full(shape, float("nan")).index_copy_(0, rows, values.sub_(normalizer)),
    )
