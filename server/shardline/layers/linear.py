"""Products split over ranks, in the fused forms of a decoder layer."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from shardline.dist.group import ParallelGroup
from shardline.layers.split import Range
from shardline.ops.base import Hidden, LinearWeight, Norm, Ops
from shardline.weights.source import Part, WeightReader


@dataclass(frozen=True, slots=True)
class Loading:
    """What every layer needs to come into being on one rank."""

    reader: WeightReader
    ops: Ops
    group: ParallelGroup

    def pack(self, weight: LinearWeight, gated: bool = False, head: bool = False) -> LinearWeight:
        """`Ops.pack`, once the values it reads are there."""
        if self.ops.packs:
            self.reader.finish()
        return self.ops.pack(weight, gated, head)


def part_of(name: str, shape: tuple[int, ...], dim: int, held: Range) -> Part:
    """What a rank holds of a tensor that is split along `dim`."""
    return Part(name, shape, dim, held.start, held.length, held.room)


@dataclass(frozen=True, slots=True)
class Output:
    """One of several products that are merged: its name, its whole width, and this rank's part."""

    name: str
    features: int
    part: Range


@dataclass(frozen=True, slots=True)
class ColumnLinear:
    """`rmsnorm(x) @ weight.T + bias` for this rank's outputs; inputs are whole."""

    ops: Ops
    weight: LinearWeight

    @classmethod
    def load(
        cls,
        loading: Loading,
        outputs: tuple[Output, ...],
        in_features: int,
        bias: bool,
        gated: bool = False,
    ) -> ColumnLinear:
        """Several products become one: their outputs follow one another. `gated`: gate, then up."""
        weights = tuple(part_of(f"{o.name}.weight", (o.features, in_features), 0, o.part) for o in outputs)
        biases = tuple(part_of(f"{o.name}.bias", (o.features,), 0, o.part) for o in outputs)
        weight = LinearWeight(
            weight=loading.reader.stack(weights),
            bias=loading.reader.stack(biases) if bias else None,
        )
        return cls(loading.ops, loading.pack(weight, gated))

    def __call__(self, x: Hidden, norm: Norm) -> Tensor:
        """dtype[rows, outputs of this rank]."""
        return self.ops.norm_linear(x, norm, self.weight)


@dataclass(frozen=True, slots=True)
class GatedLinear:
    """`silu(gate(y)) * up(y)` with `y = rmsnorm(x)`, gate and up merged into one product."""

    columns: ColumnLinear

    def __call__(self, x: Hidden, norm: Norm) -> Tensor:
        """dtype[rows, intermediate columns of this rank]."""
        return self.columns.ops.norm_linear_swiglu(x, norm, self.columns.weight)


@dataclass(frozen=True, slots=True)
class RowLinear:
    """`residual + h @ weight.T + bias` where `h` is this rank's columns; summed over ranks."""

    ops: Ops
    group: ParallelGroup
    weight: LinearWeight

    @classmethod
    def load(cls, loading: Loading, name: str, features: int, part: Input, bias: bool) -> RowLinear:
        """`features`: outputs, all of which every rank has."""
        weight = part_of(f"{name}.weight", (features, part.features), 1, part.part)
        with_bias = bias and loading.group.is_first
        return cls(
            loading.ops,
            loading.group,
            loading.pack(
                LinearWeight(
                    weight=loading.reader.read(weight),
                    bias=loading.reader.read(Part(f"{name}.bias", (features,))) if with_bias else None,
                )
            ),
        )

    def __call__(self, h: Tensor, residual: Hidden, next_norm: Norm) -> Hidden:
        """The residual stream after this product. `next_norm`: what reads it next."""
        if self.group.world_size == 1:
            return self.ops.linear_residual(h, self.weight, residual, next_norm)
        partial = self.ops.linear_residual(h, self.weight, None)
        return self.ops.sum_residual(partial.values, residual, self.group, next_norm)


@dataclass(frozen=True, slots=True)
class Input:
    """A product's inputs: their whole width and this rank's part."""

    features: int
    part: Range
