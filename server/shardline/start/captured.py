"""A runner whose steps are captured graphs.

What takes seconds is found out once and kept for later starts: which kernels there are, and how much
memory steps need. Weights are read meanwhile. The shard is ready when its kernels are loaded and the
graphs that need most memory are captured; the others are captured when nothing runs, between steps, or when
a step needs them.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter

import torch

from shardline.attention.base import AttentionBackend
from shardline.kernels.choice import MOST_FEW_ROWS
from shardline.kernels.compilation import sources_digest
from shardline.kernels.ops import TritonOps
from shardline.kernels.token_mask import apply_token_masks
from shardline.models.config import ModelConfig
from shardline.models.registry import Model
from shardline.runner.batch import Batch, BatchLimits
from shardline.runner.forward import EagerForward
from shardline.runner.graph_sizes import GraphSize, GraphSizes
from shardline.runner.graphs import GraphForward, GraphParts, representative, resolve_on_device
from shardline.runner.inputs import InputBuffers
from shardline.runner.memory import StepMemory, measure
from shardline.runner.runner import Parts, Runner
from shardline.sampling.kernel_choice import KernelChoice
from shardline.sampling.state import SamplingState
from shardline.start.ahead import AheadAlone, AheadOfRanks
from shardline.start.cache import StartCache, cache_candidates
from shardline.start.facts import device_facts, digest
from shardline.start.kernels import KernelStart, keep_compiled
from shardline.start.parts import (
    Ready,
    ShardPlan,
    Weights,
    allocate_cache,
    kept_logits_bytes,
    make_attention,
    sampling_bytes,
)
from shardline.start.phases import StartPhases
from shardline.start.products import ProductChoices

MAX_COMPILING_THREADS = 16
DRAFT_BLOCKS = 2
PRODUCTS_S = 2.0
PRODUCTS_OF_RANKS_S = 10.0
CAPTURE_S = 0.8
# Sizes, in place of a time.
CAPTURED_OF_RANKS = 8
MEMORY = "memory"
PEERS = "peers"


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A runner's parts for one set of limits."""

    batch: Batch
    inputs: InputBuffers
    sampling: SamplingState
    choice: KernelChoice
    eager: EagerForward
    graphs: GraphForward


def captured_runner(
    plan: ShardPlan, weights: Weights, phases: StartPhases, report: Callable[[str], None]
) -> Ready:
    """Loads the model beside its kernels, and sizes the cache by what steps were measured to need."""
    cache = StartCache.at(cache_candidates(plan.config.cache_folder, os.getuid()))
    if plan.config.keeps_kernels:
        keep_compiled(cache)
    if plan.group.world_size > 1:
        with phases.phase("peers"):
            _meet(plan, cache)
    facts = start_facts(plan)
    kernels = KernelStart(cache, facts, plan.device, compiling_threads(plan.config.world_size))
    loading = kernels.begin()
    model = weights.load()
    backend = make_attention(plan)
    report("loading kernels")
    with phases.phase("kernels"):
        known = loading is not None
        if loading is not None:
            loading.result()
        # Ranks that hold the model together run the same steps, also these.
        if not plan.group.agree(known):
            report("compiling kernels")
            with torch.inference_mode():
                draft = _draft(plan, model, backend)
                kernels.find(partial(_run_all_kernels, plan, draft.graphs), keep=not known)
                del draft
    with phases.phase("memory"):
        memory = _memory(plan, cache, facts, model, backend)
    products = _products(plan, cache, weights, phases, report)
    report("making the KV cache")
    with phases.phase("cache"):
        captured = memory.captured + kept_logits_bytes(plan)
        limits = allocate_cache(plan, backend, memory.launched + sampling_bytes(plan), captured)
    with phases.phase("capture"):
        drawn = _draw(plan, model, backend, limits)
        if plan.group.world_size == 1:
            # A first start has taken long enough.
            _capture(drawn.graphs, CAPTURE_S if known else 0.0)
        else:
            _capture_of_ranks(drawn.graphs)
    with phases.phase("grammars"):
        masking = plan.grammars.masking(drawn.sampling)
    moments = plan.group.idle_moments
    ahead = AheadOfRanks(products, drawn.graphs, moments) if moments else AheadAlone(products, drawn.graphs)
    parts = Parts(
        batch=drawn.batch,
        inputs=drawn.inputs,
        forward=drawn.graphs,
        joined=drawn.graphs,
        eager=drawn.eager,
        sampling=drawn.sampling,
        choice=drawn.choice,
        masking=masking,
        group=plan.group,
        device=plan.device,
        ahead=ahead,
    )
    return Ready(Runner(parts), limits, backend.bytes_per_block(limits.block_size))


def _meet(plan: ShardPlan, cache: StartCache) -> None:
    """The ranks meet; how many rows they sum by themselves is known from an earlier start, or measured."""
    facts = product_facts(plan)
    known = _whole_numbers(cache.load(PEERS, facts))
    # Measuring takes all of them, and they have to do the same.
    if plan.group.agree(known is not None) and known is not None:
        known = tuple(plan.group.minimum(limit, plan.device) for limit in known)
        plan.ops.meet(plan.group, known)
    else:
        cache.store(PEERS, facts, plan.ops.meet(plan.group))


def _whole_numbers(record: object) -> tuple[int, ...] | None:
    """From a record; none when it is not one of ours."""
    if not isinstance(record, list) or not all(type(value) is int for value in record):
        return None
    return tuple(record)


def compiling_threads(world_size: int) -> int:
    """Of this rank; the ranks share the cores."""
    return max(1, min(MAX_COMPILING_THREADS, (os.cpu_count() or 1) // world_size))


def start_facts(plan: ShardPlan) -> dict[str, object]:
    """On what kernels and memory depend."""
    choices, config, limits = plan.choices, plan.config, plan.limits
    return {
        **device_facts(plan.device),
        "model": digest(plan.model_config),
        "dtype": str(choices.dtype),
        "attention": choices.attention,
        "world_size": config.world_size,
        "max_step_tokens": choices.max_step_tokens,
        "max_sequences": choices.max_sequences,
        "max_tokens": limits.max_tokens,
        "block_size": limits.block_size,
        "cuda_graphs": list(config.cuda_graphs),
    }


def product_facts(plan: ShardPlan) -> dict[str, object]:
    """On what the choice of the vendor's products and of sums depends: not on the limits of this start.

    What is tried of them is told by the kernels' sources.
    """
    return {
        **device_facts(plan.device),
        "kernels": sources_digest(),
        "model": digest(plan.model_config),
        "dtype": str(plan.choices.dtype),
        "world_size": plan.config.world_size,
    }


def most_captured_tokens(model: ModelConfig, world_size: int) -> int:
    """Steps up to this size are captured: larger ones take the GPU longer than their launch.

    A launch takes the host up to 0.8 ms a layer, and 1.2 where ranks add up; a fast card computes
    2 * 3e14 products in a second.
    """
    heads = (2 * model.num_heads + 2 * model.num_kv_heads) * model.head_dim
    layer = model.hidden_size * (heads + 3 * model.intermediate_size) // world_size
    host_s = 0.8e-3 if world_size == 1 else 1.2e-3
    return max(256, int(host_s * 3e14 / layer))


def graph_sizes(plan: ShardPlan) -> GraphSizes:
    """To which sizes steps are padded."""
    return GraphSizes(
        plan.limits.max_sequences,
        min(
            plan.limits.max_step_tokens,
            most_captured_tokens(plan.model_config, plan.config.world_size),
        ),
        *([plan.config.cuda_graphs] if plan.config.cuda_graphs else []),
    )


def _draw(plan: ShardPlan, model: Model, backend: AttentionBackend, limits: BatchLimits) -> _Drawn:
    """The parts over an allocated cache."""
    device, vocab_size = plan.device, plan.model_config.vocab_size
    batch = Batch(limits, device)
    inputs = InputBuffers(batch, device)
    sampling = SamplingState(limits.max_sequences, vocab_size, device)
    eager = EagerForward(model, backend, resolve_on_device)
    choice = KernelChoice(sampling, batch.last_tokens, inputs.max_rows)
    group = plan.group
    share = None if group.world_size == 1 else partial(group.broadcast, batch.last_tokens)
    parts = GraphParts(
        eager=eager,
        inputs=inputs,
        sampling=sampling,
        choice=choice,
        sizes=graph_sizes(plan),
        vocab_size=vocab_size,
        device=device,
        agree=group.agree,
        samples=group.is_first,
        share=share,
    )
    return _Drawn(batch, inputs, sampling, choice, eager, GraphForward(parts))


def _draft(plan: ShardPlan, model: Model, backend: AttentionBackend) -> _Drawn:
    """The parts over next to no cache, for steps of padding."""
    backend.allocate(DRAFT_BLOCKS, plan.limits.block_size)
    return _draw(plan, model, backend, replace(plan.limits, num_blocks=DRAFT_BLOCKS))


def _run_all_kernels(plan: ShardPlan, graphs: GraphForward) -> None:
    """Whatever a request may need must be compiled before it comes: also the masks of grammars."""
    graphs.run_all_kernels()
    vocab_size, device = plan.model_config.vocab_size, plan.device
    row = torch.zeros(1, dtype=torch.int32, device=device)
    masks = torch.zeros((1, -(-vocab_size // 32)), dtype=torch.int32, device=device)
    apply_token_masks(torch.zeros((1, vocab_size), dtype=torch.float32, device=device), row, masks)


def _memory(
    plan: ShardPlan,
    cache: StartCache,
    facts: dict[str, object],
    model: Model,
    backend: AttentionBackend,
) -> StepMemory:
    """What steps need, from an earlier start or measured now."""
    known = StepMemory.of_record(cache.load(MEMORY, facts))
    if plan.group.agree(known is not None) and known is not None:
        return known
    found = _measured(plan, model, backend)
    # The parts of a draft know each other: without a collection their memory would not come back.
    gc.collect()
    cache.store(MEMORY, facts, found.record())
    return found


@torch.inference_mode()
def _measured(plan: ShardPlan, model: Model, backend: AttentionBackend) -> StepMemory:
    draft, limits = _draft(plan, model, backend), plan.limits
    rows = min(limits.max_sequences, limits.max_step_tokens)
    size = GraphSize(rows, limits.max_step_tokens, rows)

    def largest_step() -> object:
        return draft.eager.logits(representative(draft.inputs.blank(size.padding), size))

    return measure(largest_step, draft.graphs, plan.device)


def _products(
    plan: ShardPlan,
    cache: StartCache,
    weights: Weights,
    phases: StartPhases,
    report: Callable[[str], None],
) -> ProductChoices:
    """How the vendor's products are computed: known, or measured now as far as the time allows.

    What an earlier start has left is measured in idle moments, not while somebody waits for this one. Ranks that
    hold the model together take longer for it at their first start: their graphs, captured under load and not
    in idle moments, keep what is known then.
    """
    assert isinstance(plan.ops, TritonOps)
    choices = ProductChoices(plan.ops.library, cache, product_facts(plan))
    counts = [count for count in graph_sizes(plan).row_counts() if count > MOST_FEW_ROWS]
    known = choices.restore(counts)
    if not choices.is_complete and not known:
        # On the model's own weights: a card's clock depends on the values.
        weights.arrive()
        report("measuring products")
        with phases.phase("products"):
            choices.measure_for(PRODUCTS_S if plan.group.world_size == 1 else PRODUCTS_OF_RANKS_S)
    return choices


@torch.inference_mode()
def _capture(graphs: GraphForward, seconds: float, clock: Callable[[], float] = perf_counter) -> None:
    """What must be captured before the first step, and the likeliest sizes within some time."""
    graphs.capture_largest()
    graphs.plan_ahead()
    began = clock()
    while clock() - began < seconds and graphs.work_ahead():
        pass


@torch.inference_mode()
def _capture_of_ranks(graphs: GraphForward) -> None:
    """The same where ranks hold the model together: a number of sizes, since time is not the same for all."""
    graphs.capture_largest()
    graphs.capture_likeliest(CAPTURED_OF_RANKS)
    graphs.plan_ahead()
