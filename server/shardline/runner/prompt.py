"""Log-probabilities of prompt tokens, for the sequences that ask.

A chunk that computes positions [start, end) tells about the tokens at [start + 1, end], whose
predecessors it computed, as far as they are prompt; the first chunk also about position 0, which
has none before it (NaN).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shardline.endpoint.frame import PromptLogprobs
from shardline.ops.base import Hidden
from shardline.runner.batch import Batch, StepPlan
from shardline.runner.fetch import Fetch, as_f32, as_i32
from shardline.runner.forward import EagerForward
from shardline.upload import upload

LOGITS_ROWS = 256


@dataclass(frozen=True, slots=True)
class PendingPrompt:
    """What one row of a step tells of its prompt, on its way to the host."""

    sequence_id: int
    first_position: int
    num_tokens: int
    top: int
    logprobs: list[Tensor]
    top_ids: list[Tensor]
    top_logprobs: list[Tensor]

    def finish(self) -> PromptLogprobs:
        """The wire's form; the copies have arrived."""
        head = [np.full(1, np.nan, np.float32)] if self.first_position == 0 else []
        found = head + [as_f32(values) for values in self.logprobs]
        counts = np.full(self.num_tokens + len(head), self.top, np.int32)
        counts[: len(head)] = 0
        none = [np.empty(0, np.int32)], [np.empty(0, np.float32)]
        return PromptLogprobs(
            sequence_id=self.sequence_id,
            first_position=self.first_position,
            logprobs=np.concatenate([np.empty(0, np.float32), *found]),
            top_counts=counts,
            top_token_ids=np.concatenate(none[0] + [as_i32(ids).reshape(-1) for ids in self.top_ids]),
            top_logprobs=np.concatenate(
                none[1] + [as_f32(values).reshape(-1) for values in self.top_logprobs]
            ),
        )


class PromptScorer:
    """Which sequences ask, and their scores."""

    def __init__(self, batch: Batch, forward: EagerForward, device: torch.device) -> None:
        self._batch = batch
        self._forward = forward
        self._device = device
        self._top = np.full(len(batch.known), -1, np.int32)

    def admit(self, slot: int, wanted: bool, top: int) -> None:
        """`top`: how many most likely tokens at each position."""
        self._top[slot] = top if wanted else -1

    def rows(self, plan: StepPlan) -> list[int]:
        """Rows of the step that compute prompt positions of a sequence that asks."""
        asks = self._top[plan.slots] >= 0
        return np.flatnonzero(asks & (plan.computed < self._batch.num_prompt[plan.slots])).tolist()

    def score(self, plan: StepPlan, rows: list[int], hidden: Hidden, fetch: Fetch) -> list[PendingPrompt]:
        """Starts the scores of `rows`."""
        starts = np.cumsum(plan.num_tokens) - plan.num_tokens
        return [self._score_row(plan, row, int(starts[row]), hidden, fetch) for row in rows]

    def _score_row(
        self, plan: StepPlan, row: int, first_token: int, hidden: Hidden, fetch: Fetch
    ) -> PendingPrompt:
        slot, start = int(plan.slots[row]), int(plan.computed[row])
        end = min(start + int(plan.num_tokens[row]), int(self._batch.num_prompt[slot]) - 1)
        targets = self._batch.given_tokens(slot, start + 1, end + 1)
        pending = PendingPrompt(
            sequence_id=int(plan.sequence_ids[row]),
            first_position=0 if start == 0 else start + 1,
            num_tokens=len(targets),
            top=int(self._top[slot]),
            logprobs=[],
            top_ids=[],
            top_logprobs=[],
        )
        for part in range(0, len(targets), LOGITS_ROWS):
            wanted = upload(targets[part : part + LOGITS_ROWS].astype(np.int64), self._device)
            places = torch.arange(len(wanted), device=self._device) + (first_token + part)
            self._score_part(self._forward.logits_at(hidden, places), wanted, pending, fetch)
        return pending

    @staticmethod
    def _score_part(logits: Tensor, targets: Tensor, pending: PendingPrompt, fetch: Fetch) -> None:
        scores = logits.log_softmax(dim=-1)
        pending.logprobs.append(fetch.start(scores.gather(1, targets.unsqueeze(1)).squeeze(1)))
        if pending.top:
            values, ids = scores.topk(pending.top, dim=-1)
            pending.top_ids.append(fetch.start(ids))
            pending.top_logprobs.append(fetch.start(values))
