"""The seam of the dense products: what a model asks of a backend.

A decoder layer is five fused steps. Attention is one (see `attention.base`); the other four, the
embedding and the head are here. A backend may leave a note for itself beside the residual stream
(`Hidden.note`), so that a norm needs no pass of its own over the rows: whoever writes the stream is
told which norm reads it next.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from shardline.dist.group import ParallelGroup


@dataclass(frozen=True, slots=True)
class OpsFacts:
    """What a backend may choose by, fixed for the life of the process.

    `max_rows`: most rows that any product of a step has (tokens of a step). `hidden_size`,
    `vocab_size`: of the whole model.
    """

    device: torch.device
    dtype: torch.dtype
    max_rows: int
    hidden_size: int
    vocab_size: int


@dataclass(frozen=True, slots=True)
class LinearWeight:
    """One product's weight as this rank holds it.

    `weight`: dtype[out, in], device; empty when `packed` holds it. `bias`: dtype[out] or none.
    `packed`: what `Ops.pack` made of it; only the backend that made it reads it.
    """

    weight: Tensor
    bias: Tensor | None = None
    packed: object | None = None


@dataclass(frozen=True, slots=True)
class Norm:
    """RMSNorm: `x / sqrt(mean(x²) + epsilon) * weight`. `weight`: dtype[hidden]."""

    weight: Tensor
    epsilon: float


@dataclass(frozen=True, slots=True)
class Hidden:
    """The residual stream.

    `values`: dtype[rows, hidden], device.
    `note`: what the backend that wrote it left for the next norm; none when it left nothing (after
    a sum over ranks, for example). Only the backend that left it reads it.
    """

    values: Tensor
    note: object | None = None


class Ops(ABC):
    """A backend of the dense products. Sums of products are accumulated in float32.

    `packs`: whether `pack` reads the weight, which must then have arrived.
    """

    name: ClassVar[str]
    packs: ClassVar[bool] = False

    def __init__(self, facts: OpsFacts) -> None:
        self.facts = facts

    def pack(self, weight: LinearWeight, gated: bool = False, head: bool = False) -> LinearWeight:
        """Called once for each weight after loading; may return a form better to compute from.

        `gated`: the weight is gate and up, for `norm_linear_swiglu` alone. `head`: for `logits` alone. A backend that keeps its
        own copy may free the given one by returning a `LinearWeight` whose `weight` is empty or a
        view of `packed`.
        """
        return weight

    @abstractmethod
    def embed(
        self, token_ids: Tensor, table: Tensor, first_token: int, next_norm: Norm | None = None
    ) -> Hidden:
        """Rows of `table` (dtype[tokens, hidden]) for `token_ids` (i32[rows]).

        The table's first row is token `first_token`; a token outside of the table gives zeros
        (another rank has it). `next_norm`: what reads the result next, where that is known.
        """

    @abstractmethod
    def norm_linear(self, x: Hidden, norm: Norm, weight: LinearWeight) -> Tensor:
        """`rmsnorm(x) @ weight.T + bias`: dtype[rows, out]."""

    @abstractmethod
    def norm_linear_swiglu(self, x: Hidden, norm: Norm, weight: LinearWeight) -> Tensor:
        """`silu(gate) * up` of `rmsnorm(x) @ weight.T + bias`: dtype[rows, out / 2].

        The first half of the weight's rows is gate, the second up.
        """

    @abstractmethod
    def linear_residual(
        self,
        h: Tensor,
        weight: LinearWeight,
        residual: Hidden | None,
        next_norm: Norm | None = None,
    ) -> Hidden:
        """`residual + h @ weight.T + bias`; without `residual` the product alone.

        May write into `residual.values`. `next_norm`: what reads the result next, where known.
        """

    def meet(self, group: ParallelGroup, known: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """Called once before loading where several ranks hold the model, on all of them at the same time.

        `known`: what an earlier call returned; none: the backend measures it. Returns up to how many rows it
        sums over ranks in each way of its own: it has none here.
        """
        return ()

    def sum_residual(
        self, partial: Tensor, residual: Hidden | None, group: ParallelGroup, next_norm: Norm
    ) -> Hidden:
        """`residual` + the sum over ranks of `partial`; both may be written. `next_norm`: what reads it next."""
        total = group.sum(partial)
        return Hidden(total if residual is None else residual.values.add_(total))

    @abstractmethod
    def logits(self, x: Hidden, rows: Tensor | None, norm: Norm, weight: LinearWeight) -> Tensor:
        """`rmsnorm(x[rows]) @ weight.T`: f32[n, tokens]; `rows`: i64[n], none is all of them.

        The sums are not rounded to the model's type: in bfloat16 two logits of 20 that lie 0.1 apart
        would become one.
        """
