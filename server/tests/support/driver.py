"""A router in 100 lines: makes frames for a runner and follows the outcomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from shardline.endpoint.frame import (
    Frame,
    Grammar,
    NewSequence,
    Outcome,
    PromptLogprobs,
    SamplingParameters,
)
from shardline.runner.runner import Runner


def i32(values: Sequence[int]) -> bytes:
    return np.array(values, np.int32).tobytes()


def u64(values: Sequence[int]) -> bytes:
    return np.array(values, np.uint64).tobytes()


@dataclass
class Request:
    """One prompt and what came of it. `ends`: tokens that end it. `status`: of the
    last row.

    `cached`: blocks that hold the prompt's start already and belong to somebody else.
    """

    prompt: list[int]
    sampling: SamplingParameters = field(default_factory=lambda: SamplingParameters(temperature=0.0))
    new_tokens: int = 8
    seed: int = 0
    choice: int = 0
    cached: list[int] = field(default_factory=list)
    grammar: Grammar | None = None
    ends: tuple[int, ...] = ()
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    tops: list[list[tuple[int, float]]] = field(default_factory=list)
    prompt_logprobs: list[PromptLogprobs] = field(default_factory=list)
    status: int = 0
    sequence: int = 0
    computed: int = 0
    blocks: list[int] = field(default_factory=list)

    @property
    def known(self) -> int:
        return len(self.prompt) + len(self.tokens)

    @property
    def done(self) -> bool:
        ended = bool(self.tokens) and self.tokens[-1] in self.ends
        return ended or len(self.tokens) >= self.new_tokens or self.status != 0


class Driver:
    """Drives a runner with a token budget a step, decode rows first."""

    def __init__(self, runner: Runner, block_size: int, num_blocks: int) -> None:
        self.runner = runner
        self.block_size = block_size
        self.free = list(range(num_blocks))
        self.step_id = 0
        self.next_sequence = 1
        self.drops: list[int] = []

    def run(
        self,
        requests: Sequence[Request],
        budget: int = 10_000,
        preempt: Callable[[int], list[int]] = lambda step: [],
    ) -> None:
        """Until all are done. `preempt`: indices of requests that lose their blocks before a step."""
        new = list(requests)
        steps = 0
        while any(not request.done for request in requests):
            for index in preempt(steps):
                if not requests[index].done:
                    self.release(requests[index])
                    new.append(requests[index])
            frame, rows = self.frame(requests, new, budget)
            self.apply(self.runner.complete(self.runner.launch(frame)), rows)
            for request in requests:
                if request.done and request.blocks:
                    self.release(request)
            steps += 1
        if self.drops:
            self.step_id += 1
            self.runner.complete(self.runner.launch(Frame(self.step_id, drop=u64(self.drops))))
            self.drops = []

    def release(self, request: Request) -> None:
        self.drops.append(request.sequence)
        self.free.extend(request.blocks[len(request.cached) :])
        request.blocks, request.computed, request.sequence = [], 0, 0

    def frame(
        self, requests: Sequence[Request], new: list[Request], budget: int
    ) -> tuple[Frame, list[Request]]:
        admitted: list[NewSequence] = []
        for request in new:
            request.blocks, request.computed = list(request.cached), len(request.cached) * self.block_size
            request.sequence, self.next_sequence = self.next_sequence, self.next_sequence + 1
            admitted.append(
                NewSequence(
                    sequence_id=request.sequence,
                    token_ids=i32(request.prompt + request.tokens),
                    num_prompt_tokens=len(request.prompt),
                    num_cached_tokens=request.computed,
                    block_ids=i32(request.cached),
                    seed=request.seed,
                    choice=request.choice,
                    sampling=request.sampling,
                    grammar=request.grammar,
                )
            )
        new.clear()
        living = [request for request in requests if not request.done]
        living.sort(key=lambda request: request.known - request.computed > 1)
        rows: list[Request] = []
        counts: list[int] = []
        blocks: list[list[int]] = []
        for request in living:
            count = min(budget, request.known - request.computed)
            if count < 1:
                break
            budget -= count
            needed = -(-(request.computed + count) // self.block_size) - len(request.blocks)
            added = [self.free.pop() for _ in range(needed)]
            request.blocks.extend(added)
            request.computed += count
            rows.append(request)
            counts.append(count)
            blocks.append(added)
        self.step_id += 1
        frame = Frame(
            step_id=self.step_id,
            drop=u64(self.drops),
            new_sequences=tuple(admitted),
            sequence_ids=u64([request.sequence for request in rows]),
            num_tokens=i32(counts),
            new_block_counts=i32([len(added) for added in blocks]),
            new_blocks=i32([block for added in blocks for block in added]),
        )
        self.drops = []
        return frame, rows

    def apply(self, outcome: Outcome, rows: list[Request]) -> None:
        sampled = [request for request in rows if request.computed == request.known]
        assert outcome.sequence_ids.tolist() == [request.sequence for request in sampled]
        at = top = 0
        for index, request in enumerate(sampled):
            request.status = int(outcome.status[index])
            for _ in range(int(outcome.token_counts[index])):
                request.tokens.append(int(outcome.token_ids[at]))
                if len(outcome.logprobs):
                    request.logprobs.append(float(outcome.logprobs[at]))
                if len(outcome.top_counts):
                    end = top + int(outcome.top_counts[at])
                    ids, values = outcome.top_token_ids[top:end], outcome.top_logprobs[top:end]
                    request.tops.append(list(zip(ids.tolist(), values.tolist(), strict=True)))
                    top = end
                at += 1
        by_sequence = {request.sequence: request for request in rows}
        for entry in outcome.prompt_logprobs:
            by_sequence[entry.sequence_id].prompt_logprobs.append(entry)


def tokens_of(requests: Sequence[Request]) -> list[list[int]]:
    return [request.tokens for request in requests]
