"""A router for one process: makes frames for a runner, two in flight, and follows the sequences.

It knows lengths only, as a router does that ignores end-of-sequence tokens, so plans never wait for
tokens.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

import numpy as np
import torch

from shardline.assembly import Shard
from shardline.endpoint.frame import Frame, NewSequence, SamplingParameters, StepTimings
from shardline.runner.runner import PendingStep

GREEDY = SamplingParameters(temperature=0.0)
DEPTH = 2


@dataclass(slots=True)
class Sequence:
    """`computed`: tokens planned so far; `wanted`: tokens to generate."""

    id: int
    prompt: int
    wanted: int
    computed: int = 0
    blocks: list[int] = field(default_factory=list)
    submitted_s: float = 0.0
    first_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Load:
    """A closed loop: `concurrency` requests at once, three times as many in all.

    `budget`: most tokens of a step that has decode rows.
    """

    concurrency: int
    prompt: int
    output: int
    budget: int = 640

    @staticmethod
    def parse(text: str) -> Load:
        """CONCURRENCY:PROMPT:OUTPUT[:BUDGET]."""
        return Load(*map(int, text.split(":")))


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What a load gave; milliseconds from submission to the first token."""

    concurrency: int
    prompt: int
    output: int
    budget: int
    out_tok_s: float
    ttft_mean_ms: float
    ttft_p99_ms: float

    def line(self, name: str) -> str:
        """For people."""
        return (
            f"{name} load {self.concurrency} x {self.prompt}/{self.output}, budget {self.budget}: {self.out_tok_s:.0f} out tok/s, "
            f"TTFT mean {self.ttft_mean_ms:.0f} ms, P99 {self.ttft_p99_ms:.0f} ms"
        )


class Fleet:
    """The living sequences, their blocks, and the steps in flight."""

    def __init__(self, shard: Shard) -> None:
        self._runner = shard.runner
        self._info = shard.info
        self._free = list(range(shard.info.num_blocks - 1, -1, -1))
        self._numbers = np.random.default_rng(11)
        self._step = 0
        self._next = 1
        self._new: list[NewSequence] = []
        self._drop: list[int] = []
        self.living: list[Sequence] = []
        self._flying: deque[tuple[PendingStep, list[Sequence]]] = deque()
        self.host_s: list[float] = []
        self.parts: list[StepTimings] = []
        self.sampling = GREEDY

    def add(self, prompt: int, wanted: int) -> Sequence:
        """A sequence with a prompt of fresh random tokens."""
        tokens = self._numbers.integers(0, self._info.vocab_size, prompt, dtype=np.int32)
        sequence = Sequence(self._next, prompt, wanted, submitted_s=time.perf_counter())
        self._new.append(NewSequence(self._next, tokens.tobytes(), prompt, sampling=self.sampling))
        self._next += 1
        self.living.append(sequence)
        return sequence

    def remove(self, sequence: Sequence) -> None:
        """Frees its blocks; the shard hears of it with the next step."""
        self.living.remove(sequence)
        self._free.extend(sequence.blocks)
        self._drop.append(sequence.id)

    def step(self, counts: list[tuple[Sequence, int]]) -> list[Sequence]:
        """Launches a step, then completes the one before the last; returns whose first token came."""
        blocks: list[int] = []
        block_counts = []
        for sequence, tokens in counts:
            sequence.computed += tokens
            need = -(-sequence.computed // self._info.block_size) - len(sequence.blocks)
            fresh = [self._free.pop() for _ in range(need)]
            sequence.blocks.extend(fresh)
            blocks.extend(fresh)
            block_counts.append(need)
        self._step += 1
        running = {sequence.id for sequence, _ in counts}
        new = tuple(item for item in self._new if item.sequence_id in running)
        self._new = [item for item in self._new if item.sequence_id not in running]
        frame = Frame(
            step_id=self._step,
            drop=np.array(self._drop, np.uint64).tobytes(),
            new_sequences=new,
            sequence_ids=np.array([s.id for s, _ in counts], np.uint64).tobytes(),
            num_tokens=np.array([n for _, n in counts], np.int32).tobytes(),
            new_block_counts=np.array(block_counts, np.int32).tobytes(),
            new_blocks=np.array(blocks, np.int32).tobytes(),
        )
        self._drop = []
        began = time.perf_counter()
        pending = self._runner.launch(frame)
        self.host_s.append(time.perf_counter() - began)
        self.parts.append(pending.timings)
        firsts = [s for s, _ in counts if s.computed == s.prompt]
        self._flying.append((pending, firsts))
        return self._complete(DEPTH - 1)

    def _complete(self, left: int) -> list[Sequence]:
        arrived: list[Sequence] = []
        while len(self._flying) > left:
            pending, firsts = self._flying.popleft()
            outcome = self._runner.complete(pending)
            if (outcome.status != 0).any():
                raise RuntimeError(f"step {outcome.step_id}: a row had no finite logit")
            now = time.perf_counter()
            for sequence in firsts:
                sequence.first_s = now
            arrived.extend(firsts)
        return arrived

    def settle(self) -> list[Sequence]:
        """Completes all steps in flight."""
        return self._complete(0)

    def fill(self, rows: int, context: int) -> None:
        """`rows` sequences with `context` tokens computed."""
        for _ in range(rows):
            self.add(context, 1 << 30)
        self.prefill()

    def prefill(self) -> None:
        """All prompts, in steps as large as the shard takes."""
        budget = self._info.max_step_tokens
        while any(s.computed < s.prompt for s in self.living):
            left, counts = budget, []
            for sequence in self.living:
                tokens = min(max(0, sequence.prompt - sequence.computed), left)
                if tokens:
                    counts.append((sequence, tokens))
                    left -= tokens
            self.step(counts)
        self.settle()

    def decode(self, steps: int) -> None:
        """Decode steps of all living sequences."""
        for _ in range(steps):
            self.step([(sequence, 1) for sequence in self.living])
        self.settle()

    def timed_decode(self, steps: int) -> tuple[float, float]:
        """Milliseconds a step in the steady state, and of the host within one launch."""
        for _ in range(DEPTH):
            self.step([(sequence, 1) for sequence in self.living])
        self.host_s.clear()
        self.parts.clear()
        began = time.perf_counter()
        for _ in range(steps):
            self.step([(sequence, 1) for sequence in self.living])
        took = time.perf_counter() - began
        self.settle()
        return took / steps * 1e3, sum(self.host_s) / len(self.host_s) * 1e3

    def mixed(self, chunk: int) -> None:
        """One step of all living sequences and a new prompt's chunk."""
        old = [(sequence, 1) for sequence in self.living]
        self.step([*old, (self.add(chunk, 1), chunk)])
        self.settle()

    def captured_mixed(self, rows: int, context: int, chunk: int) -> torch.cuda.CUDAGraph:
        """A captured step of `rows` decode rows and a chunk of a new prompt."""
        # A size is captured when it comes for the second time.
        for _ in range(2):
            self.clear()
            self.fill(rows, context)
            self.decode(2)
            self.mixed(chunk)
        torch.cuda.synchronize()
        return self.last_graph()

    def last_graph(self) -> torch.cuda.CUDAGraph:
        """The graph of the last step."""
        captured = getattr(self._runner.joined, "last", None)
        if captured is None:
            raise RuntimeError("the last step was no captured one")
        graph: torch.cuda.CUDAGraph = captured.graph
        return graph

    def clear(self) -> None:
        """Forgets all sequences."""
        self.settle()
        for sequence in list(self.living):
            self.remove(sequence)


def run_load(fleet: Fleet, load: Load) -> LoadResult:
    """Decode rows first, then prompts in order until the step reaches an edge below the budget."""
    total, started = 3 * load.concurrency, 0
    done: list[Sequence] = []
    edges = (128, 192, 256, 384, 512, 640, 768, 1024, 1536, 2048)
    began = time.perf_counter()
    while len(done) < total:
        while started < total and len(fleet.living) < load.concurrency:
            fleet.add(load.prompt, load.output)
            started += 1
        decoding = [s for s in fleet.living if s.computed >= s.prompt]
        waiting = [s for s in fleet.living if s.computed < s.prompt]
        counts = [(s, 1) for s in decoding]
        if waiting:
            wanted = len(counts) + sum(s.prompt - s.computed for s in waiting)
            budget = max((e for e in edges if e <= max(wanted, 128)), default=128)
            budget = min(budget, load.budget if len(counts) * 2 > load.concurrency else 2048)
            left = max(budget - len(counts), 16)
            for sequence in waiting:
                tokens = min(sequence.prompt - sequence.computed, left)
                if tokens:
                    counts.append((sequence, tokens))
                    left -= tokens
        fleet.step(counts)
        for sequence in [s for s in fleet.living if s.computed == s.prompt + s.wanted - 1]:
            fleet.remove(sequence)
            done.append(sequence)
    fleet.settle()
    took = time.perf_counter() - began
    waits = sorted((s.first_s - s.submitted_s) * 1e3 for s in done)
    return LoadResult(
        load.concurrency,
        load.prompt,
        load.output,
        load.budget,
        total * load.output / took,
        sum(waits) / len(waits),
        waits[int(len(waits) * 0.99)],
    )
