"""Which models there are.

Only the table and the choice belong here: a model is a file of its own.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from shardline.attention.base import AttentionContext
from shardline.layers.linear import Loading
from shardline.layers.split import can_split_heads
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
    """A number of shards that the model cannot be split over."""

    def __init__(self, world_size: int, working: tuple[int, ...]) -> None:
        super().__init__(
            f"the model cannot be split over {world_size} shards; these numbers work: "
            f"{', '.join(map(str, working))}"
        )
        self.working = working


def supported_models() -> dict[str, type[LlamaModel]]:
    """Names as in a config's `architectures` → the class."""
    names = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
    return {name: LlamaModel for name in names}


def working_world_sizes(config: ModelConfig) -> tuple[int, ...]:
    """Numbers of shards that give each rank whole heads and equal columns."""
    return tuple(
        world_size
        for world_size in range(1, config.num_heads + 1)
        if can_split_heads(config.num_heads, config.num_kv_heads, world_size)
        and config.intermediate_size % world_size == 0
    )


def check_supported(config: ModelConfig, world_size: int) -> None:
    """Refuses what cannot be served before any weight is read."""
    if config.architecture not in supported_models():
        raise UnsupportedModelError(config.architecture)
    working = working_world_sizes(config)
    if world_size not in working:
        raise WorldSizeError(world_size, working)


def load_model(config: ModelConfig, loading: Loading) -> Model:
    """Reads this rank's part of the model."""
    check_supported(config, loading.group.world_size)
    return supported_models()[config.architecture].load(config, loading)
