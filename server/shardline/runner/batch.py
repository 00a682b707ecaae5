"""The persistent batch: what the shard holds of every living sequence, in slots.

Nothing is moved or rebuilt between steps; a frame brings deltas. The host holds what the plan
alone determines (lengths, block tables, given tokens); the device holds a copy of the block tables
and what only it knows (the last sampled token). The last slot is never given to a sequence:
padding points there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shardline.endpoint.frame import I32, U64, FrameFields, NewSequenceFields
from shardline.runner.errors import ProtocolError
from shardline.upload import upload

# A step is uneven above so many tokens more than twice the mean, and so many more for each row. Launches of parts cost
# every row: on an H200, of a model with 8 KV heads, splitting a row pays from 4,000 tokens on beside 99 of 640 and from
# 5,600 beside 255.
UNEVEN_TOKENS = 2048
UNEVEN_TOKENS_A_ROW = 8


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """Bounds of the batch. `max_tokens`: of one sequence, prompt and generated."""

    max_sequences: int
    max_step_tokens: int
    max_tokens: int
    block_size: int
    num_blocks: int

    @property
    def max_blocks(self) -> int:
        """Most blocks of one sequence."""
        return -(-self.max_tokens // self.block_size)


@dataclass(frozen=True, slots=True)
class StepPlan:
    """The rows of a frame with what the batch knows of them; host arrays, one entry a row.

    `computed`: tokens before this step. `known`: tokens given or sampled before it. `samples`:
    whether the row brings the computed tokens up to the known ones. `uneven`: see `is_uneven`.
    """

    sequence_ids: U64
    slots: I32
    num_tokens: I32
    computed: I32
    known: I32
    samples: npt.NDArray[np.bool_]
    uneven: bool


def is_uneven(computed: I32, num_tokens: I32) -> bool:
    """Whether, of the rows of one token, one attends to far more than the others (see `StepRows`)."""
    lengths = computed[num_tokens == 1] + 1
    if not len(lengths):
        return False
    usual = 2 * float(lengths.mean()) + UNEVEN_TOKENS + UNEVEN_TOKENS_A_ROW * len(lengths)
    return int(lengths.max()) > usual


class Batch:
    """Slots of living sequences."""

    def __init__(self, limits: BatchLimits, device: torch.device) -> None:
        self.limits = limits
        self._device = device
        slots = limits.max_sequences
        self._slot_of: dict[int, int] = {}
        self._free = list(range(slots - 1, -1, -1))
        self.known: I32 = np.zeros(slots + 1, np.int32)
        self.computed: I32 = np.zeros(slots + 1, np.int32)
        self.num_given: I32 = np.zeros(slots + 1, np.int32)
        self.num_prompt: I32 = np.zeros(slots + 1, np.int32)
        self._num_blocks: I32 = np.zeros(slots + 1, np.int32)
        self._given: list[I32] = [np.empty(0, np.int32)] * (slots + 1)
        self._tables: I32 = np.zeros((slots + 1, limits.max_blocks), np.int32)
        self.block_tables: Tensor = torch.zeros(
            (slots + 1, limits.max_blocks), dtype=torch.int32, device=device
        )
        self.last_tokens: Tensor = torch.zeros(slots + 1, dtype=torch.int32, device=device)

    @property
    def null_slot(self) -> int:
        """Where padding rows point."""
        return self.limits.max_sequences

    def __len__(self) -> int:
        return len(self._slot_of)

    def reset(self) -> None:
        """Forgets all sequences."""
        for sequence in list(self._slot_of):
            self._forget(sequence)

    def drop(self, sequence_ids: U64) -> list[int]:
        """Forgets some, whose slots are returned."""
        slots: list[int] = []
        for sequence in sequence_ids.tolist():
            if sequence not in self._slot_of:
                raise ProtocolError(f"sequence {sequence} is to be dropped and is not known")
            slots.append(self._forget(sequence))
        return slots

    def _forget(self, sequence: int) -> int:
        slot = self._slot_of.pop(sequence)
        self._given[slot] = np.empty(0, np.int32)
        self._free.append(slot)
        return slot

    def admit(self, sequence: NewSequenceFields) -> int:
        """Takes a sequence into a slot, which is returned."""
        if sequence.sequence_id in self._slot_of:
            raise ProtocolError(f"sequence {sequence.sequence_id} is new and already known")
        if not self._free:
            raise ProtocolError(
                f"sequence {sequence.sequence_id} is one more than the {len(self)} that may live at once"
            )
        tokens: I32 = np.frombuffer(sequence.token_ids, np.int32)
        count, cached = len(tokens), sequence.num_cached_tokens
        if not 0 < count <= self.limits.max_tokens:
            raise ProtocolError(
                f"sequence {sequence.sequence_id} has {count} tokens; between 1 and {self.limits.max_tokens} fit"
            )
        if not 0 <= cached < count or cached % self.limits.block_size:
            raise ProtocolError(
                f"sequence {sequence.sequence_id} has {cached} cached tokens of {count}; "
                f"whole blocks of {self.limits.block_size} and fewer than all are allowed"
            )
        slot = self._free.pop()
        self._slot_of[sequence.sequence_id] = slot
        self._given[slot] = tokens
        self.num_given[slot] = self.known[slot] = count
        self.num_prompt[slot] = sequence.num_prompt_tokens
        self.computed[slot] = cached
        self._num_blocks[slot] = 0
        return slot

    def plan(self, frame: FrameFields, admitted: dict[int, NewSequenceFields]) -> StepPlan:
        """Appends the frame's blocks and advances its rows. `admitted`: by slot, from `admit`."""
        sequence_ids: U64 = np.frombuffer(frame.sequence_ids, np.uint64)
        try:
            slots: I32 = np.fromiter(
                map(self._slot_of.__getitem__, sequence_ids.tolist()), np.int32, len(sequence_ids)
            )
        except KeyError as error:
            raise ProtocolError(f"sequence {error.args[0]} is to run and is not known") from error
        num_tokens: I32 = np.frombuffer(frame.num_tokens, np.int32)
        self._append_blocks(frame, slots, admitted)
        computed, known = self.computed[slots], self.known[slots]
        reached = computed + num_tokens
        self._check(sequence_ids, slots, num_tokens, reached, known)
        samples = reached == known
        self.computed[slots] = reached
        self.known[slots] = known + samples
        uneven = is_uneven(computed, num_tokens)
        return StepPlan(sequence_ids, slots, num_tokens, computed, known, samples, uneven)

    def _check(self, ids: U64, slots: I32, num_tokens: I32, reached: I32, known: I32) -> None:
        total = int(num_tokens.sum())
        if total > self.limits.max_step_tokens:
            raise ProtocolError(f"the step has {total} tokens; {self.limits.max_step_tokens} is the limit")
        seen = np.zeros(self.limits.max_sequences + 1, np.bool_)
        seen[slots] = True
        if np.count_nonzero(seen) != len(slots):
            raise ProtocolError("a sequence is in two rows of the step")
        wrong = np.flatnonzero((num_tokens < 1) | (reached > known))
        if wrong.size:
            row = int(wrong[0])
            raise ProtocolError(
                f"sequence {ids[row]} is to run {num_tokens[row]} tokens and has "
                f"{known[row] - reached[row] + num_tokens[row]} to run"
            )
        wrong = np.flatnonzero(reached > self._num_blocks[slots] * self.limits.block_size)
        if wrong.size:
            row = int(wrong[0])
            raise ProtocolError(
                f"sequence {ids[row]} reaches {reached[row]} tokens and its {self._num_blocks[slots[row]]} "
                f"blocks hold {self._num_blocks[slots[row]] * self.limits.block_size}"
            )

    def _append_blocks(self, frame: FrameFields, slots: I32, admitted: dict[int, NewSequenceFields]) -> None:
        tables = [np.frombuffer(sequence.block_ids, np.int32) for sequence in admitted.values()]
        first = np.fromiter(admitted, np.int32, len(admitted))
        self._extend(
            first,
            np.array([len(t) for t in tables], np.int32),
            np.concatenate([np.empty(0, np.int32), *tables]),
        )
        counts: I32 = np.frombuffer(frame.new_block_counts, np.int32)
        blocks: I32 = np.frombuffer(frame.new_blocks, np.int32)
        if len(counts) not in (0, len(slots)) or int(counts.sum()) != len(blocks):
            raise ProtocolError(
                f"{len(counts)} rows take {int(counts.sum())} blocks; there are {len(slots)} rows and {len(blocks)} blocks"
            )
        if len(blocks):
            self._extend(slots, counts, blocks)

    def _extend(self, slots: I32, counts: I32, blocks: I32) -> None:
        """Appends to the tables of `slots`, whose parts of `blocks` have `counts` entries."""
        if not len(blocks):
            return
        if int(blocks.min()) < 0 or int(blocks.max()) >= self.limits.num_blocks:
            raise ProtocolError(f"a block id is not in [0, {self.limits.num_blocks})")
        held = self._num_blocks[slots]
        if int((held + counts).max()) > self.limits.max_blocks:
            raise ProtocolError(
                f"a sequence has more than the {self.limits.max_blocks} blocks that it may have"
            )
        ends = np.cumsum(counts)
        within = np.arange(len(blocks)) - np.repeat(ends - counts, counts)
        places = np.repeat(slots.astype(np.int64) * self.limits.max_blocks + held, counts) + within
        self._tables.reshape(-1)[places] = blocks
        self._num_blocks[slots] = held + counts
        self.block_tables.view(-1).index_copy_(0, upload(places, self._device), upload(blocks, self._device))

    def kv_slots(self, slots: I32, positions: I32) -> I32:
        """Where the KV of each token goes: `block * block_size + offset`; arguments a token each."""
        size = self.limits.block_size
        return self._tables[slots, positions // size] * size + positions % size

    def given_tokens(self, slot: int, start: int, end: int) -> I32:
        """Tokens [start, end) of those that came with the sequence."""
        return self._given[slot][start:end]
