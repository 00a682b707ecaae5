"""The inputs of a step: one host array, one copy, static device tensors.

All of a step's indices lie in one i32 buffer with fixed places, so that a captured graph finds
them at the addresses it was captured with. Places past the step's rows and tokens hold padding
(see `StepRows`) up to the sizes asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shardline.attention.base import HostRows, StepRows
from shardline.endpoint.frame import I32
from shardline.runner.batch import Batch, StepPlan
from shardline.runner.staging import StagingRing

ROW_FIELDS = ("slots", "context_lengths", "sample_tokens", "sample_slots", "sample_positions", "query_starts")
TOKEN_FIELDS = ("token_ids", "positions", "token_rows", "kv_slots")
FROM_DEVICE = -1


@dataclass(frozen=True, slots=True)
class Padding:
    """Sizes that a step is padded to; at least its own. Zero: not padded."""

    rows: int = 0
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class StepInputs:
    """Device tensors of one step, cut to its (padded) size.

    `given_tokens`: i32[tokens], -1 where only the device knows the token (see `resolve_tokens`);
    `last_tokens`: i32[slots]. `sample_tokens`: i64-convertible i32[samples], which tokens of the
    step are sampled from; `sample_slots`: i32[samples], whose they are; `sample_positions`:
    i32[samples], of the tokens to be sampled.
    """

    rows: StepRows
    given_tokens: Tensor
    last_tokens: Tensor
    sample_tokens: Tensor
    sample_slots: Tensor
    sample_positions: Tensor
    num_samples: int


def resolve_tokens(inputs: StepInputs) -> Tensor:
    """i32[tokens]: given tokens as they are; -1 becomes the last sampled token of its sequence."""
    given = inputs.given_tokens
    slots = inputs.rows.slots[inputs.rows.token_rows]
    return torch.where(given < 0, inputs.last_tokens[slots], given)


class InputBuffers:
    """The static tensors, and how a plan gets into them."""

    def __init__(self, batch: Batch, device: torch.device) -> None:
        self._batch = batch
        self._device = device
        self.max_rows = batch.limits.max_sequences
        self.max_tokens = batch.limits.max_step_tokens
        self._places: dict[str, tuple[int, int]] = {}
        at = 0
        for name in ROW_FIELDS:
            size = self.max_rows + (name == "query_starts")
            self._places[name] = (at, size)
            at += size
        for name in TOKEN_FIELDS:
            self._places[name] = (at, self.max_tokens)
            at += self.max_tokens
        self._packed = torch.zeros(at, dtype=torch.int32, device=device)
        self._views = {
            name: self._packed[start : start + size] for name, (start, size) in self._places.items()
        }
        self._staging = StagingRing(at, self._places, device)

    def view(self, name: str) -> Tensor:
        """The whole static tensor of one field."""
        return self._views[name]

    def load(self, plan: StepPlan, padding: Padding = Padding()) -> StepInputs:
        """Copies the plan to the device."""
        rows = self._fill(self._staging.take(), plan, padding)
        self._staging.copy_to(self._packed)
        return self._inputs(rows, int(plan.samples.sum()), padding)

    def blank(self, padding: Padding) -> StepInputs:
        """Inputs of padding alone: for warming up and capturing at a size."""
        nothing = np.empty(0, np.int32)
        plan = StepPlan(
            np.empty(0, np.uint64), nothing, nothing, nothing, nothing, np.empty(0, np.bool_), uneven=False
        )
        return self.load(plan, padding)

    def _inputs(self, rows: StepRows, num_samples: int, padding: Padding) -> StepInputs:
        tokens = rows.positions.shape[0]
        samples = max(num_samples, padding.rows)
        return StepInputs(
            rows=rows,
            given_tokens=self.view("token_ids")[:tokens],
            last_tokens=self._batch.last_tokens,
            sample_tokens=self.view("sample_tokens")[:samples],
            sample_slots=self.view("sample_slots")[:samples],
            sample_positions=self.view("sample_positions")[:samples],
            num_samples=num_samples,
        )

    def _fill(self, host: dict[str, I32], plan: StepPlan, padding: Padding) -> StepRows:
        num_rows, counts = len(plan.slots), plan.num_tokens
        num_tokens = int(counts.sum())
        context_lengths = plan.computed + counts
        ends = np.cumsum(counts, dtype=np.int32)
        starts = ends - counts
        rows = np.repeat(np.arange(num_rows, dtype=np.int32), counts)
        positions = np.arange(num_tokens, dtype=np.int32) - np.repeat(starts - plan.computed, counts)
        padded_rows = max(num_rows, padding.rows)
        padded_tokens = max(num_tokens, padding.tokens)
        samples = np.flatnonzero(plan.samples)

        host["slots"][:num_rows] = plan.slots
        host["slots"][num_rows:padded_rows] = self._batch.null_slot
        host["context_lengths"][:num_rows] = context_lengths
        host["context_lengths"][num_rows:padded_rows] = 0
        host["query_starts"][0] = 0
        host["query_starts"][1 : num_rows + 1] = ends
        host["query_starts"][num_rows + 1 : padded_rows + 1] = num_tokens
        host["sample_tokens"][: len(samples)] = ends[samples] - 1
        host["sample_slots"][: len(samples)] = plan.slots[samples]
        host["sample_positions"][: len(samples)] = plan.known[samples]
        host["sample_slots"][len(samples) : padded_rows] = self._batch.null_slot
        host["sample_tokens"][len(samples) : padded_rows] = 0
        host["sample_positions"][len(samples) : padded_rows] = 0
        host["positions"][:num_tokens] = positions
        host["positions"][num_tokens:padded_tokens] = 0
        host["token_rows"][:num_tokens] = rows
        host["token_rows"][num_tokens:padded_tokens] = max(0, padded_rows - 1)
        host["kv_slots"][:num_tokens] = self._batch.kv_slots(plan.slots[rows], positions)
        host["kv_slots"][num_tokens:padded_tokens] = -1
        host["token_ids"][num_tokens:padded_tokens] = 0
        self._fill_tokens(host["token_ids"], plan, starts)
        return self._step_rows(host, plan, context_lengths, padded_rows, padded_tokens)

    def _fill_tokens(self, token_ids: I32, plan: StepPlan, starts: I32) -> None:
        """Loops over rows with given tokens only: prefill, not decode."""
        token_ids[: int(plan.num_tokens.sum())] = FROM_DEVICE
        given = self._batch.num_given[plan.slots]
        for row in np.flatnonzero(plan.computed < given).tolist():
            start, first = int(starts[row]), int(plan.computed[row])
            tokens = self._batch.given_tokens(int(plan.slots[row]), first, first + int(plan.num_tokens[row]))
            token_ids[start : start + len(tokens)] = tokens

    def _step_rows(
        self, host: dict[str, I32], plan: StepPlan, context_lengths: I32, padded_rows: int, padded_tokens: int
    ) -> StepRows:
        num_rows = len(plan.slots)
        longer = np.flatnonzero(plan.num_tokens != 1)
        return StepRows(
            num_rows=num_rows,
            num_decode_rows=int(longer[0]) if len(longer) else num_rows,
            num_tokens=int(plan.num_tokens.sum()),
            uneven=plan.uneven,
            slots=self.view("slots")[:padded_rows],
            query_starts=self.view("query_starts")[: padded_rows + 1],
            context_lengths=self.view("context_lengths")[:padded_rows],
            positions=self.view("positions")[:padded_tokens],
            token_rows=self.view("token_rows")[:padded_tokens],
            kv_slots=self.view("kv_slots")[:padded_tokens],
            block_tables=self._batch.block_tables,
            host=HostRows(plan.slots, host["query_starts"][: num_rows + 1], context_lengths),
        )
