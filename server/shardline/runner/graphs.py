"""Steps as captured CUDA graphs.

A graph reads everything that changes between steps from the static inputs (`InputBuffers`) and from
the batch's device state, so one capture serves all steps of its padded size. A size is captured when
it is first needed, from inputs of padding alone; capturing runs nothing. Where no sampled row needs
the host between forward pass and sampling, both are one graph that also keeps the last tokens.

All graphs share one memory pool. They run one after another in one stream, so what one leaves
behind may be overwritten by the next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
import torch
from torch import Tensor

from shardline.attention.base import HostRows
from shardline.kernels.chaining import Chain
from shardline.kernels.choice import MOST_FEW_ROWS, chain_for
from shardline.kernels.compilation import compile_missing, dry_run
from shardline.kernels.embedding import resolve_tokens
from shardline.kernels.sampling import SamplingScratch, SamplingTable, sample
from shardline.kernels.target import KernelTarget
from shardline.runner.batch import StepPlan
from shardline.runner.forward import EagerForward
from shardline.runner.graph_sizes import GraphSize, GraphSizes
from shardline.runner.inputs import InputBuffers, Padding, StepInputs
from shardline.sampling.sampler import Sampled
from shardline.sampling.state import SamplingState


class Sampling(Enum):
    """What a graph does after the forward pass."""

    APART = "apart"
    GREEDY = "greedy"
    DRAWN = "drawn"


@dataclass(frozen=True, slots=True)
class Captured:
    """A graph, and the logits it leaves when it does not sample."""

    graph: torch.cuda.CUDAGraph
    logits: Tensor | None


@dataclass(frozen=True, slots=True)
class GraphParts:
    """What graphs are made from. `vocab_size`: of the model."""

    eager: EagerForward
    inputs: InputBuffers
    sampling: SamplingState
    sizes: GraphSizes
    vocab_size: int
    device: torch.device


class GraphForward:
    """A `JoinedForward` for one rank on a GPU."""

    def __init__(self, parts: GraphParts) -> None:
        self._parts = parts
        self._graphs: dict[tuple[GraphSize, Sampling], Captured] = {}
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(parts.device)
        self._size: GraphSize | None = None
        self._sampling = Sampling.APART
        self.last: Captured | None = None
        self._target = KernelTarget.of(parts.device)
        rows = parts.inputs.max_rows
        self._tokens = torch.zeros(rows, dtype=torch.int64, device=parts.device)
        self._valid = torch.zeros(rows, dtype=torch.bool, device=parts.device)
        self._scratch = SamplingScratch.allocate(rows, parts.vocab_size, parts.device)
        self._table = SamplingTable(parts.sampling.device_numbers, parts.sampling.device_key_bases)

    def padding(self, plan: StepPlan) -> Padding:
        """The captured size that the step fits in, or its own."""
        self._size = self._parts.sizes.of(plan)
        self._sampling = self._sampling_of(plan)
        if self._size is None:
            return Padding()
        wanted = (self._size, self._sampling)
        if wanted not in self._graphs:
            self.capture(*wanted)
        return self._size.padding

    def logits(self, inputs: StepInputs) -> Tensor:
        """See `Forward.logits`."""
        captured = None if self._size is None else self._graphs.get((self._size, Sampling.APART))
        if captured is None or captured.logits is None:
            return self._parts.eager.logits(inputs)
        self.last = captured
        captured.graph.replay()
        return captured.logits

    def sampled(self, plan: StepPlan, inputs: StepInputs) -> Sampled | None:
        """See `JoinedForward.sampled`."""
        sampling = self._sampling
        if sampling is Sampling.APART:
            return None
        if self._size is None:
            self._step(inputs, sampling, all_sample=False)
        else:
            self.last = self._graphs[(self._size, sampling)]
            self.last.graph.replay()
        count = inputs.num_samples
        return Sampled(self._tokens[:count], self._valid[:count], None, None, None)

    def capture(self, size: GraphSize, sampling: Sampling, run_first: bool = True) -> None:
        """Captures a size from inputs of padding.

        `run_first`: compile and load the kernels by a run, which a capture must not have to do.
        """
        inputs = representative(self._parts.inputs.blank(size.padding), size)
        # In a decode step the tokens are the samples, in the same order.
        decode = size.chunk_rows == 0
        if run_first:
            self._step(inputs, sampling, all_sample=decode)
        graph = torch.cuda.CUDAGraph()
        current = torch.cuda.current_stream(self._parts.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            # Only this thread is watched: another one may be waiting for the last step's results.
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                logits = self._step(inputs, sampling, all_sample=decode)
            finally:
                graph.capture_end()
        current.wait_stream(self._stream)
        self._graphs[(size, sampling)] = Captured(graph, logits)

    def warm_up(self, report: Callable[[str], None], workers: int) -> None:
        """Compiles the kernels of all sizes and captures all decode sizes.

        Mixed sizes are captured when they are needed, in some 30 ms each.
        """
        sizes = self._parts.sizes.representatives()
        with dry_run() as missing:
            for size in sizes:
                for sampling in (Sampling.DRAWN, Sampling.GREEDY):
                    inputs = representative(self._parts.inputs.blank(size.padding), size)
                    self._step(inputs, sampling, all_sample=size.chunk_rows == 0)
        report(f"compiling {len(missing.variants)} kernels")
        compile_missing(missing, self._parts.device, workers)
        report("capturing decode steps")
        for sampling in (Sampling.DRAWN, Sampling.GREEDY):
            for size in sizes:
                self.capture(size, sampling)
        for size in self._parts.sizes.decode_sizes():
            for sampling in (Sampling.DRAWN, Sampling.GREEDY):
                if (size, sampling) not in self._graphs:
                    self.capture(size, sampling, run_first=False)

    def _step(self, inputs: StepInputs, sampling: Sampling, all_sample: bool) -> Tensor | None:
        """The step's work; logits when it ends there. `all_sample`: every token is sampled from."""
        eager = self._parts.eager
        hidden = eager.hidden(inputs)
        if not inputs.sample_tokens.shape[0]:
            return None
        logits = eager.logits_at(hidden, None if all_sample else inputs.sample_tokens)
        if sampling is Sampling.APART:
            return logits
        rows = logits.shape[0]
        chain = chain_for(rows, MOST_FEW_ROWS, self._target) if all_sample else Chain.OFF
        sample(
            logits,
            inputs.sample_slots,
            inputs.sample_positions,
            self._table,
            self._scratch,
            inputs.last_tokens,
            self._tokens[:rows],
            self._valid[:rows],
            only_greedy=sampling is Sampling.GREEDY,
            chain=chain,
        )
        return None

    def _sampling_of(self, plan: StepPlan) -> Sampling:
        """What the step's sampled rows allow."""
        slots = plan.slots[plan.samples]
        state = self._parts.sampling
        if not state.is_plain(slots, plan.known[plan.samples]):
            return Sampling.APART
        return Sampling.GREEDY if bool(state.greedy(slots).all()) else Sampling.DRAWN


def resolve_on_device(inputs: StepInputs) -> Tensor:
    """`inputs.resolve_tokens` in one launch."""
    rows, out = inputs.rows, torch.empty_like(inputs.given_tokens)
    resolve_tokens(inputs.given_tokens, rows.token_rows, rows.slots, inputs.last_tokens, out)
    return out


def representative(inputs: StepInputs, size: GraphSize) -> StepInputs:
    """The inputs with host facts that stand for every step of the size.

    Backends choose their launches from host facts; captured, those must cover single tokens as well
    as chunks.
    """
    counts = [1] * size.rows
    if size.chunk_rows:
        counts = [1] * (size.rows - size.chunk_rows) + [2] * size.chunk_rows
    starts = np.concatenate([np.zeros(1, np.int32), np.cumsum(counts, dtype=np.int32)])
    if size.chunk_rows == size.rows:
        # No row would stand for single tokens: let the first one.
        starts[1:] -= 1
    host = HostRows(
        slots=np.zeros(size.rows, np.int32),
        query_starts=starts,
        context_lengths=np.ones(size.rows, np.int32),
    )
    rows = replace(
        inputs.rows,
        num_rows=size.rows,
        num_decode_rows=size.rows - size.chunk_rows,
        num_tokens=size.tokens,
        host=host,
    )
    return replace(inputs, rows=rows)
