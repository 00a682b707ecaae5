"""The pieces of a shard that both ways of running steps are put together from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from shardline.attention.base import AttentionBackend, AttentionFacts
from shardline.attention.registry import attention_backend
from shardline.config import ShardConfig
from shardline.dist.group import ParallelGroup
from shardline.kv.sizing import (
    KvRequest,
    allocate_blocks,
    available_memory,
    cpu_blocks,
    device_memory,
    gpu_blocks,
    logits_bytes,
    step_bytes,
)
from shardline.layers.split import split_heads
from shardline.models.config import ModelConfig
from shardline.models.registry import Model
from shardline.ops.base import Ops
from shardline.runner.batch import BatchLimits
from shardline.runner.runner import Runner
from shardline.start.grammars import StartingGrammars


@dataclass(frozen=True, slots=True)
class Choices:
    """Defaults resolved for the device."""

    device: torch.device
    dtype: torch.dtype
    ops: str
    attention: str
    max_step_tokens: int
    max_sequences: int


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """What a shard is to be. `limits`: of its batch, with no KV blocks yet. `ops`: its products.

    `grammars`: on their way.
    """

    config: ShardConfig
    choices: Choices
    model_config: ModelConfig
    group: ParallelGroup
    limits: BatchLimits
    ops: Ops
    grammars: StartingGrammars

    @property
    def device(self) -> torch.device:
        """Where everything lies."""
        return self.choices.device


@dataclass(frozen=True, slots=True)
class Weights:
    """`load`: the model, whose values may still be on their way; `arrive`: returns when they are there."""

    load: Callable[[], Model]
    arrive: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Ready:
    """What came of it. `limits`: with the KV blocks there are."""

    runner: Runner
    limits: BatchLimits
    bytes_per_block: int


def limits_of(config: ShardConfig, choices: Choices, model: ModelConfig) -> BatchLimits:
    """The bounds of the batch; a block is as large as the attention backend likes it."""
    return BatchLimits(
        max_sequences=choices.max_sequences,
        max_step_tokens=choices.max_step_tokens,
        max_tokens=min(model.max_position, config.max_total_tokens or model.max_position),
        block_size=config.block_size or attention_backend(choices.attention).preferred_block_size,
        num_blocks=0,
    )


def make_attention(plan: ShardPlan) -> AttentionBackend:
    """The backend with this rank's heads."""
    model, choices = plan.model_config, plan.choices
    heads = split_heads(model.num_heads, model.num_kv_heads, plan.group.rank, plan.group.world_size)
    facts = AttentionFacts(
        num_layers=model.num_layers,
        num_heads=heads.query.room,
        num_kv_heads=heads.key_value.room,
        head_dim=model.head_dim,
        scale=model.head_dim**-0.5,
        windows=model.windows,
        rope=model.rope.tables(model.max_position, choices.device),
        dtype=choices.dtype,
        device=choices.device,
        max_step_tokens=choices.max_step_tokens,
        max_rows=choices.max_sequences,
    )
    return attention_backend(choices.attention)(facts)


def guessed_step_bytes(plan: ShardPlan) -> int:
    """A bound of what a step takes beside weights and cache, where nothing was measured."""
    model, choices = plan.model_config, plan.choices
    heads = (model.num_heads + 2 * model.num_kv_heads) * model.head_dim
    widths = (4 * model.hidden_size, 2 * heads, 3 * model.intermediate_size)
    return step_bytes(
        choices.max_step_tokens, choices.max_sequences, widths, model.vocab_size, choices.dtype.itemsize
    )


def sampling_bytes(plan: ShardPlan) -> int:
    """What sampling apart from a captured step takes at most."""
    choices = plan.choices
    return logits_bytes(choices.max_sequences, plan.model_config.vocab_size)


def kept_logits_bytes(plan: ShardPlan) -> int:
    """Of the float32 logits that captured steps leave for sampling apart."""
    return plan.choices.max_sequences * plan.model_config.vocab_size * 4


def allocate_cache(
    plan: ShardPlan, backend: AttentionBackend, launched_bytes: int, captured_bytes: int = 0
) -> BatchLimits:
    """Makes the KV cache as large as memory allows beside what steps need.

    The rank with the least memory decides for all of them. What steps that are launched by the host
    need is left in torch's allocator, where no other process can take it.
    """
    config, device, limits = plan.config, plan.device, plan.limits
    request = KvRequest(
        tokens=config.kv_cache_tokens,
        block_size=limits.block_size,
        bytes_per_block=backend.bytes_per_block(limits.block_size),
        max_position=limits.max_tokens,
        reserved_bytes=launched_bytes + captured_bytes,
    )
    claimed = None
    if device.type == "cuda":
        free, total = device_memory(device)
        blocks = gpu_blocks(request, free, total, config.cuda_memory_fraction)
        claimed = torch.empty(launched_bytes, dtype=torch.uint8, device=device)
    else:
        blocks = cpu_blocks(request, available_memory() // config.world_size)

    def allocate(count: int) -> bool:
        try:
            backend.allocate(count, limits.block_size)
        except torch.OutOfMemoryError:
            return False
        return True

    def agree(value: int) -> int:
        return plan.group.minimum(value, device)

    blocks = allocate_blocks(agree(blocks), allocate, agree, request)
    del claimed
    return replace(limits, num_blocks=blocks)
