"""The seam of attention: what the runner and the models ask of a backend.

The backend owns the KV cache and its layout, applies rope (and Qwen3's norm of queries and keys),
writes keys and values of the step's tokens and attends. A step mixes decode rows and chunks of
prefill: decode rows (one token each) come first.

    tokens   | d0 | d1 | d2 | c3 c3 c3 c3 | c4 c4 |
    rows       0    1    2    3             4
    query_starts 0, 1, 2, 3, 7, 9
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shardline.ops.base import Norm


@dataclass(frozen=True, slots=True)
class AttentionFacts:
    """The model's attention on this rank.

    `num_heads` and `num_kv_heads` are this rank's. Query head `h` reads KV head
    `h // (num_heads // num_kv_heads)`.
    `windows`: per layer how many positions back a token sees, itself included; none: all.
    `rope`: (cos, sin), each f32[max_position, rotary_dim / 2], device. Rotated pairs are
    (i, i + rotary_dim / 2) of a head ("half" style); dimensions past rotary_dim stay.
    `max_step_tokens`, `max_rows`: bounds of a step, for static buffers.
    """

    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    scale: float
    windows: tuple[int | None, ...]
    rope: tuple[Tensor, Tensor]
    dtype: torch.dtype
    device: torch.device
    max_step_tokens: int
    max_rows: int


@dataclass(frozen=True, slots=True)
class QueryKeyNorm:
    """RMSNorm over each head of queries and of keys, before rope (Qwen3)."""

    query: Norm
    key: Norm


@dataclass(frozen=True, slots=True)
class HostRows:
    """The same facts as in `StepRows` as numpy arrays, for backends that loop on the host."""

    slots: npt.NDArray[np.int32]
    query_starts: npt.NDArray[np.int32]
    context_lengths: npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class StepRows:
    """The rows of one step. All tensors live on the device, at addresses that never change.

    The tensors may be longer than the step (padded for a captured graph): padding tokens have
    `kv_slots` -1 (write nothing) and padding rows have context length 0.

    `uneven`: one of the rows of a single token attends to far more tokens than the others.
    `slots`: i32[rows], the row's place in `block_tables`.
    `query_starts`: i32[rows + 1], where the row's tokens start.
    `context_lengths`: i32[rows], tokens of the sequence with those of this step.
    `positions`: i32[tokens].
    `token_rows`: i32[tokens], the token's row.
    `kv_slots`: i32[tokens], `block * block_size + offset` where the token's KV goes.
    `block_tables`: i32[slots, max_blocks], of all slots.
    """

    num_rows: int
    num_decode_rows: int
    num_tokens: int
    uneven: bool
    slots: Tensor
    query_starts: Tensor
    context_lengths: Tensor
    positions: Tensor
    token_rows: Tensor
    kv_slots: Tensor
    block_tables: Tensor
    host: HostRows


class AttentionBackend(ABC):
    """A backend. Constructed once at start; `allocate` before the first step."""

    name: ClassVar[str]
    preferred_block_size: ClassVar[int]

    def __init__(self, facts: AttentionFacts) -> None:
        self.facts = facts

    @abstractmethod
    def bytes_per_block(self, block_size: int) -> int:
        """Device memory of one KV block over all layers."""

    @abstractmethod
    def allocate(self, num_blocks: int, block_size: int) -> None:
        """Makes the KV cache; block ids are in [0, num_blocks)."""

    @abstractmethod
    def prepare(self, rows: StepRows) -> object:
        """Called once a step: what `forward` needs in every layer. Its own type, opaque to others."""

    @abstractmethod
    def forward(self, layer: int, qkv: Tensor, norm: QueryKeyNorm | None, metadata: object) -> Tensor:
        """Rotates, writes KV and attends.

        `qkv`: dtype[tokens, (num_heads + 2 * num_kv_heads) * head_dim]: queries, keys, values.
        Returns dtype[tokens, num_heads * head_dim]. May overwrite `qkv`.
        """


@dataclass(frozen=True, slots=True)
class AttentionContext:
    """What a model gets with a step: attention of any layer, nothing else."""

    backend: AttentionBackend
    metadata: object

    def attention(self, layer: int, qkv: Tensor, norm: QueryKeyNorm | None = None) -> Tensor:
        """See `AttentionBackend.forward`."""
        return self.backend.forward(layer, qkv, norm, self.metadata)
