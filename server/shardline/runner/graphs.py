"""Steps as captured CUDA graphs.

A graph reads everything that changes between steps from the static inputs (`InputBuffers`) and from
the batch's device state, so one capture serves all steps of its padded size. It is made from inputs
of padding alone; capturing runs nothing. When that happens is `GraphStore`'s choice; until then the
size's steps run launch by launch. Where no sampled row needs the host between forward pass and
sampling, both are one graph that also keeps the last tokens.

All graphs share one memory pool. They run one after another in one stream, so what one leaves
behind may be overwritten by the next.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from shardline.attention.base import HostRows
from shardline.kernels.chaining import Chain
from shardline.kernels.choice import MOST_FEW_ROWS, chain_for
from shardline.kernels.embedding import resolve_tokens
from shardline.kernels.target import KernelTarget
from shardline.runner.batch import StepPlan
from shardline.runner.forward import EagerForward
from shardline.runner.graph_sizes import GraphSize, GraphSizes
from shardline.runner.graph_store import GraphStore, GraphWork
from shardline.runner.inputs import InputBuffers, Padding, StepInputs
from shardline.sampling.kernel_choice import KernelChoice
from shardline.sampling.sampler import Sampled
from shardline.sampling.state import SamplingState

LEAST_FREE_BYTES = 256 << 20
MOST_GRAPHS = 320
# Where ranks hold the model together, up to so many rows are planned for sampling apart as well.
MOST_ROWS_APART = 64
Result = TypeVar("Result")
log = logging.getLogger("shardline.graphs")


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
class GraphKey:
    """What one graph serves."""

    size: GraphSize
    sampling: Sampling


@dataclass(frozen=True, slots=True)
class GraphParts:
    """What graphs are made from. `vocab_size`: of the model. `choice`: how graphs sample.

    `samples`: whether this rank chooses tokens; `share`: tells the other ranks of the last tokens;
    `agree`: see `GraphWork`.
    """

    eager: EagerForward
    inputs: InputBuffers
    sampling: SamplingState
    choice: KernelChoice
    sizes: GraphSizes
    vocab_size: int
    device: torch.device
    agree: Callable[[bool], bool]
    samples: bool = True
    share: Callable[[], object] | None = None

    @property
    def alone(self) -> bool:
        """Whether this rank holds the whole model, so that graphs may be captured whenever it suits it."""
        return self.share is None


class GraphForward:
    """A `JoinedForward` on a GPU."""

    def __init__(self, parts: GraphParts) -> None:
        self._parts = parts
        self._store = GraphStore(
            GraphWork(
                run=self._run_blank,
                # Sampling is our own kernel, which every start loads.
                loads=lambda key: key.size,
                capture=self._capture,
                has_room=self._has_room,
                settle=self._settle,
                agree=parts.agree,
            ),
            MOST_GRAPHS,
        )
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(parts.device)
        self._size: GraphSize | None = None
        self._sampling = Sampling.APART
        self._captured: Captured | None = None
        self.last: Captured | None = None
        self._logits: Tensor | None = None
        self._target = KernelTarget.of(parts.device)

    def padding(self, plan: StepPlan) -> Padding:
        """The captured size that the step fits in, or its own."""
        self._size = self._parts.sizes.of(plan)
        self._sampling = self._sampling_of(plan)
        if self._size is None:
            self._captured = None
            return Padding()
        self._captured = self._store.find(GraphKey(self._size, self._sampling))
        return self._size.padding

    def logits(self, inputs: StepInputs) -> Tensor:
        """See `Forward.logits`."""
        captured = self._captured
        if captured is None or captured.logits is None:
            return self._with_memory(lambda: self._parts.eager.logits(inputs))
        self.last = captured
        captured.graph.replay()
        return captured.logits

    def sampled(self, inputs: StepInputs) -> Sampled | None:
        """See `JoinedForward.sampled`."""
        if self._sampling is Sampling.APART:
            return None
        self.last = self._captured
        if self._captured is None:
            decode = self._size is not None and self._size.is_decode
            self._with_memory(lambda: self._step(inputs, self._sampling, all_sample=decode))
        else:
            self._captured.graph.replay()
        tokens, valid = self._parts.choice.chosen(inputs.num_samples)
        return Sampled(tokens, valid, None, None, None)

    def work_ahead(self) -> bool:
        """A piece of work that no step waits for: a run or a capture; false when none is left."""
        return self._store.work_ahead()

    def work_between(self) -> bool:
        """Between two steps: a capture; false when no planned size is left."""
        return self._store.work_between()

    def plan_ahead(self) -> None:
        """From now on `work_ahead` and `work_between` capture the sizes that are met most."""
        keys = self._usual()
        if self._parts.alone:
            for key in keys:
                # Beside our kernels, which are loaded, decode steps have products of the vendor alone, which
                # its library can load while it is captured. Those of ranks have sums by NCCL, which may
                # connect the ranks anew for a larger one: that is better done by a run.
                if key.size.is_decode:
                    self._store.note_loaded(key)
        self._store.plan(keys)

    def capture_likeliest(self, count: int) -> None:
        """Captures so many of the sizes that are met most now."""
        for key in self._usual()[:count]:
            self._store.capture(key)

    def capture_largest(self) -> int:
        """Captures the graphs whose memory serves all others; returns how many those are."""
        keys = [GraphKey(size, self._samplings()[0]) for size in self._parts.sizes.largest()]
        for key in keys:
            self._store.capture(key)
        return len(keys)

    def give_up(self) -> None:
        """Drops all graphs; nothing is captured from then on. Of several ranks all do it, or none."""
        self.last = self._captured = None
        self._store.clear()

    def run_all_kernels(self) -> None:
        """Steps that use every kernel that any step uses."""
        for size in self._parts.sizes.representatives():
            for sampling in self._samplings():
                self._run_blank(GraphKey(size, sampling))

    def _usual(self) -> list[GraphKey]:
        """What is met most, the likeliest first."""
        sizes = self._parts.sizes.by_likelihood()
        if self._parts.alone:
            return [GraphKey(size, sampling) for size in sizes for sampling in self._samplings()]
        apart = [size for size in sizes if size.is_decode and size.rows <= MOST_ROWS_APART]
        return [
            *(GraphKey(size, Sampling.DRAWN) for size in sizes),
            *(GraphKey(size, Sampling.APART) for size in apart),
        ]

    def _samplings(self) -> tuple[Sampling, ...]:
        return (Sampling.DRAWN, Sampling.GREEDY if self._parts.alone else Sampling.APART)

    def _blank(self, size: GraphSize) -> StepInputs:
        return representative(self._parts.inputs.blank(size.padding), size)

    def _run_blank(self, key: GraphKey) -> None:
        self._step(self._blank(key.size), key.sampling, all_sample=key.size.is_decode)

    def _capture(self, key: GraphKey) -> Captured:
        """A graph of a step over padding, whose kernels are loaded already."""
        inputs = self._blank(key.size)
        kept = self._logits_place() if key.sampling is Sampling.APART else None
        graph = torch.cuda.CUDAGraph()
        current = torch.cuda.current_stream(self._parts.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            # Only this thread is watched: another one may be waiting for the last step's results.
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                logits = self._step(inputs, key.sampling, all_sample=key.size.is_decode)
                if logits is not None and kept is not None:
                    kept = kept[: logits.shape[0]]
                    kept.copy_(logits)
            finally:
                graph.capture_end()
        current.wait_stream(self._stream)
        return Captured(graph, kept)

    def _logits_place(self) -> Tensor:
        """Where all graphs leave their logits: f32[rows, vocab_size].

        Were each graph's own logits kept, none of them could have the memory of another one.
        """
        if self._logits is None:
            shape = (self._parts.inputs.max_rows, self._parts.vocab_size)
            self._logits = torch.empty(shape, dtype=torch.float32, device=self._parts.device)
        return self._logits

    def _has_room(self) -> bool:
        return torch.cuda.mem_get_info(self._parts.device)[0] >= LEAST_FREE_BYTES

    def _settle(self) -> None:
        torch.cuda.synchronize(self._parts.device)

    def _with_memory(self, work: Callable[[], Result]) -> Result:
        """`work`; when memory runs out once more, with what the graphs held.

        Not where ranks hold the model together: half of the step's sums may have been launched, which the others
        will not launch again, and they go on replaying graphs. The group has to be replaced.
        """
        try:
            return work()
        except torch.OutOfMemoryError as error:
            cause = str(error).partition("\n")[0]
            if not self._parts.alone:
                raise RuntimeError(
                    f"{cause}; the other ranks cannot go on without this one's part of the step. "
                    "A lower --cuda-memory-fraction leaves more room"
                ) from error
            log.warning("%s: captured steps are given up for it", cause)
        self.give_up()
        torch.cuda.empty_cache()
        return work()

    def _step(self, inputs: StepInputs, sampling: Sampling, all_sample: bool) -> Tensor | None:
        """The step's work; logits when it ends there. `all_sample`: every token is sampled from."""
        eager = self._parts.eager
        logits = eager.logits_at(eager.hidden(inputs), None) if all_sample else eager.logits(inputs)
        if sampling is Sampling.APART:
            return logits
        rows = logits.shape[0]
        if self._parts.samples:
            self._parts.choice.launch(
                logits,
                inputs.sample_slots[:rows],
                inputs.sample_positions[:rows],
                only_greedy=sampling is Sampling.GREEDY,
                chain=chain_for(rows, MOST_FEW_ROWS, self._target)
                if all_sample and self._parts.alone
                else Chain.OFF,
            )
        if self._parts.share is not None:
            self._parts.share()
        return None

    def _sampling_of(self, plan: StepPlan) -> Sampling:
        """What the step's sampled rows allow."""
        slots = plan.slots[plan.samples]
        state = self._parts.sampling
        if not state.is_plain(slots, plan.known[plan.samples]):
            return Sampling.APART
        return Sampling.GREEDY if self._parts.alone and bool(state.greedy(slots).all()) else Sampling.DRAWN


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
        uneven=size.uneven,
        host=host,
    )
    return replace(inputs, rows=rows)
