"""A runner whose steps are launched operation by operation: on the CPU, and with other backends' parts."""

from __future__ import annotations

from collections.abc import Callable

from shardline.runner.batch import Batch
from shardline.runner.forward import EagerForward
from shardline.runner.inputs import InputBuffers
from shardline.runner.runner import Parts, Runner
from shardline.sampling.choice import TorchChoice
from shardline.sampling.state import SamplingState
from shardline.start.parts import (
    Ready,
    ShardPlan,
    Weights,
    allocate_cache,
    guessed_step_bytes,
    make_attention,
)
from shardline.start.phases import StartPhases


def eager_runner(
    plan: ShardPlan, weights: Weights, phases: StartPhases, report: Callable[[str], None]
) -> Ready:
    """Loads the model and sizes the cache by a bound of what steps need."""
    model = weights.load()
    report("sizing the KV cache")
    with phases.phase("cache"):
        backend = make_attention(plan)
        limits = allocate_cache(plan, backend, guessed_step_bytes(plan))
    device = plan.device
    batch = Batch(limits, device)
    sampling = SamplingState(limits.max_sequences, plan.model_config.vocab_size, device)
    eager = EagerForward(model, backend)
    parts = Parts(
        batch=batch,
        inputs=InputBuffers(batch, device),
        forward=eager,
        joined=None,
        eager=eager,
        sampling=sampling,
        choice=TorchChoice(sampling),
        masking=plan.grammars.masking(sampling),
        group=plan.group,
        device=device,
    )
    return Ready(Runner(parts), limits, backend.bytes_per_block(limits.block_size))
