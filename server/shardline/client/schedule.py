"""Which prompts advance by how many tokens in each step, and in which KV blocks.

Much simpler than the router's scheduler: a prompt gets all blocks that it may ever need before it
starts, so nothing is preempted, and nothing is shared. Pure: no gRPC here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from shardline.client.errors import InvalidRequest
from shardline.client.sampling import Sampling

ADMISSION_TOKENS = 4 << 20
"""Most prompt tokens that one step introduces: a step stays far below the limit of a message."""


class Finish(str, Enum):
    """Why a prompt's generation ended."""

    STOP = "stop"
    """The token is a stop token."""
    LENGTH = "length"
    """max_new_tokens are generated."""
    INVALID_LOGITS = "invalid_logits"
    """The model gave no usable distribution; there is no token (`Token.id` is -1)."""
    GRAMMAR = "grammar"
    """The grammar could not be compiled or followed any further; there is no token (`Token.id` is -1)."""


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token."""

    prompt: int
    """Index of the prompt among those given."""
    id: int
    finish: Finish | None
    """Set with the prompt's last token."""
    logprob: float | None = None
    """Natural logarithm, when asked for."""
    top: tuple[tuple[int, float], ...] = ()
    """(token id, log-probability), most likely first, when asked for."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the shard takes; see InfoResponse."""

    vocab_size: int
    max_position: int
    block_size: int
    num_blocks: int
    max_step_tokens: int
    max_sequences: int


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt."""

    token_ids: tuple[int, ...]
    max_new_tokens: int
    sampling: Sampling
    stop_token_ids: tuple[int, ...]
    seed: int


@dataclass(slots=True)
class Running:
    """A prompt that runs. Its id on the wire is its index among the prompts."""

    index: int
    request: Request
    blocks: list[int]
    computed: int = 0
    generated: int = 0

    @property
    def known(self) -> int:
        """Tokens given or sampled."""
        return len(self.request.token_ids) + self.generated


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `rows`: (sequence id, number of tokens), decode rows first."""

    drop: tuple[int, ...]
    admitted: tuple[Running, ...]
    rows: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Sampled:
    """What a step sampled for one row. `token_id` is none when there is a `failure`."""

    sequence_id: int
    token_id: int | None
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()
    failure: Finish | None = None


class Schedule:
    """From prompts to steps, and from what they sampled to tokens."""

    def __init__(self, capacity: Capacity, requests: Sequence[Request]) -> None:
        for index, request in enumerate(requests):
            check(capacity, index, request)
        self._capacity = capacity
        self._waiting = deque(enumerate(requests))
        self._running: dict[int, Running] = {}
        self._free = list(range(capacity.num_blocks - 1, -1, -1))
        self._drop: list[int] = []

    def next_step(self) -> Step | None:
        """The next step; none when every prompt is finished."""
        drop, self._drop = tuple(self._drop), []
        admitted = self._admit()
        if not self._running:
            return None
        budget = self._capacity.max_step_tokens
        rows: list[tuple[int, int]] = []
        by_work = sorted(self._running.values(), key=lambda sequence: sequence.known - sequence.computed > 1)
        for sequence in by_work:
            tokens = min(sequence.known - sequence.computed, budget)
            if tokens > 0:
                rows.append((sequence.index, tokens))
                budget -= tokens
        for index, tokens in rows:
            self._running[index].computed += tokens
        return Step(drop, tuple(admitted), tuple(rows))

    def _admit(self) -> list[Running]:
        admitted: list[Running] = []
        tokens = 0
        while self._waiting and len(self._running) < self._capacity.max_sequences:
            index, request = self._waiting[0]
            needed = blocks_needed(self._capacity, request)
            tokens += len(request.token_ids)
            if needed > len(self._free) or (admitted and tokens > ADMISSION_TOKENS):
                break
            self._waiting.popleft()
            sequence = Running(index, request, [self._free.pop() for _ in range(needed)])
            self._running[index] = sequence
            admitted.append(sequence)
        return admitted

    def apply(self, sampled: Sequence[Sampled]) -> list[Token]:
        """Takes what the last step sampled."""
        return [self._apply(one) for one in sampled]

    def _apply(self, sampled: Sampled) -> Token:
        sequence = self._running[sampled.sequence_id]
        request = sequence.request
        finish: Finish | None = None
        if sampled.token_id is None:
            finish = sampled.failure or Finish.INVALID_LOGITS
        else:
            sequence.generated += 1
            stops = sampled.token_id in request.stop_token_ids
            # A grammar may be complete before min_tokens, and ends then.
            complete = request.sampling.grammar is not None
            if stops and (complete or sequence.generated > request.sampling.min_tokens):
                finish = Finish.STOP
            elif sequence.generated == request.max_new_tokens:
                finish = Finish.LENGTH
        if finish is not None:
            del self._running[sequence.index]
            self._free.extend(sequence.blocks)
            self._drop.append(sequence.index)
        token_id = -1 if sampled.token_id is None else sampled.token_id
        return Token(sequence.index, token_id, finish, sampled.logprob, sampled.top)


def blocks_needed(capacity: Capacity, request: Request) -> int:
    """For all tokens whose KV is ever written: the last generated one is not."""
    tokens = len(request.token_ids) + request.max_new_tokens - 1
    return -(-tokens // capacity.block_size)


def check(capacity: Capacity, index: int, request: Request) -> None:
    """Refuses a prompt that this shard can never run."""
    where = f"prompts[{index}]"
    length, new = len(request.token_ids), request.max_new_tokens
    if length == 0:
        raise InvalidRequest(f"{where} is empty; give at least one token id")
    ids = np.asarray(request.token_ids)
    if ids.dtype.kind not in "iu":
        raise InvalidRequest(f"{where} has ids of type {ids.dtype}; give whole numbers")
    if ids.min() < 0 or ids.max() >= capacity.vocab_size:
        outside = next(i for i in request.token_ids if not 0 <= i < capacity.vocab_size)
        raise InvalidRequest(f"{where} has token id {outside}; ids lie in [0, {capacity.vocab_size})")
    if new < 1:
        raise InvalidRequest(f"max_new_tokens is {new}; it must be at least 1")
    limit = min(capacity.max_position, capacity.num_blocks * capacity.block_size)
    if length + new > limit:
        raise InvalidRequest(
            f"{where} has {length} tokens and may grow by max_new_tokens {new}; a sequence of this shard has "
            f"at most {limit} tokens"
        )
