"""Which models there are.

Only the table and the choice belong here: a model is a file of its own.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from shardline.attention.base import AttentionContext
from shardline.layers.linear import Loading
from shardline.layers.split import split_heads
from shardline.models.config import ModelConfig
from shardline.models.llama import LlamaModel
from shardline.ops.base import Hidden


class Model(Protocol):
    """What the runner asks of a model."""

    def forward(self, token_ids: Tensor, context: AttentionContext, needed: Tensor | None = None) -> Hidden:
        """`token_ids`: i32[tokens] → the residual stream of every token, or of those at `needed`: integers[n]."""
        ...

    def logits(self, x: Hidden, rows: Tensor | None) -> Tensor:
        """f32[n, vocab_size] of its `rows` (i64[n]; none: all)."""
        ...


class UnsupportedModelError(ValueError):
    """An architecture without a model file."""

    def __init__(self, architecture: str) -> None:
        super().__init__(
            f"architecture {architecture!r} is not supported; supported are {', '.join(supported_models())}"
        )


class WorldSizeError(ValueError):
    """More shards than the model has work for."""

    def __init__(self, world_size: int, most: int) -> None:
        super().__init__(
            f"the model cannot be split over {world_size} shards: it has {most} attention heads, so at most "
            f"{most} have work; use --num-shard {most} or fewer"
        )


def supported_models() -> dict[str, type[LlamaModel]]:
    """Names as in a config's `architectures` → the class."""
    names = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
    return {name: LlamaModel for name in names}


def check_supported(config: ModelConfig, world_size: int) -> None:
    """Refuses what cannot be served before any weight is read."""
    if config.architecture not in supported_models():
        raise UnsupportedModelError(config.architecture)
    if world_size > config.num_heads:
        raise WorldSizeError(world_size, config.num_heads)


def cost_of_uneven_heads(config: ModelConfig, world_size: int) -> str | None:
    """What is to be known of a number of shards that the heads do not divide by; none: they do."""
    each = split_heads(config.num_heads, config.num_kv_heads, 0, world_size).query.room
    if each * world_size == config.num_heads:
        return None
    return (
        f"{config.num_heads} attention heads in {config.num_kv_heads} groups do not divide by {world_size} shards: "
        f"each has room for {each}, and attention takes the time and memory of {each * world_size}"
    )


def load_model(config: ModelConfig, loading: Loading) -> Model:
    """Reads this rank's part of the model."""
    check_supported(config, loading.group.world_size)
    return supported_models()[config.architecture].load(config, loading)
