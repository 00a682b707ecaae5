"""The dense products in float32 on the CPU, by the native extension.

torch reads a third of what the memory gives when a product has one row; the extension reads each
weight once for all rows of a step, and a row's result is the same bit for bit in any batch.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from shardline._native import PackedWeight, Products
from shardline.ops.base import Hidden, LinearWeight, Norm, OpsFacts
from shardline.ops.torch_ops import TorchOps


class CpuOps(TorchOps):
    """Each fused product is one call into the extension; the embedding is torch's."""

    name: ClassVar[str] = "cpu"
    packs: ClassVar[bool] = True

    def __init__(self, facts: OpsFacts) -> None:
        super().__init__(facts)
        if facts.device.type != "cpu" or facts.dtype != torch.float32:
            raise ValueError(
                f"the products backend 'cpu' computes in float32 on the CPU, not in {facts.dtype} on "
                f"{facts.device}; choose 'torch'"
            )
        self._products = Products(torch.get_num_threads())

    def pack(self, weight: LinearWeight, gated: bool = False, head: bool = False) -> LinearWeight:
        """Keeps a packed copy alone."""
        values = weight.weight.contiguous()
        rows, inputs = values.shape
        packed = self._products.pack(values.data_ptr(), rows=rows, inputs=inputs, gated=gated)
        return LinearWeight(values.new_empty(0), weight.bias, packed)

    def norm_linear(self, x: Hidden, norm: Norm, weight: LinearWeight) -> Tensor:
        return self._product(x.values, weight, norm)

    def norm_linear_swiglu(self, x: Hidden, norm: Norm, weight: LinearWeight) -> Tensor:
        return self._product(x.values, weight, norm)

    def linear_residual(
        self,
        h: Tensor,
        weight: LinearWeight,
        residual: Hidden | None,
        next_norm: Norm | None = None,
    ) -> Hidden:
        return Hidden(self._product(h, weight, add_to=None if residual is None else residual.values))

    def logits(self, x: Hidden, rows: Tensor | None, norm: Norm, weight: LinearWeight) -> Tensor:
        values = x.values if rows is None else x.values.index_select(0, rows)
        return self._product(values, weight, norm)

    def _product(
        self, x: Tensor, weight: LinearWeight, norm: Norm | None = None, add_to: Tensor | None = None
    ) -> Tensor:
        """f32[rows, outputs] of `x`: f32[rows, inputs]; with `add_to` the sum with it, in its place."""
        packed = weight.packed
        if not isinstance(packed, PackedWeight):
            raise TypeError("a weight comes from this backend's pack")
        rows = x.shape[0]
        check(x, (rows, packed.inputs))
        out = x.new_empty((rows, packed.outputs)) if add_to is None else add_to
        check(out, (rows, packed.outputs))
        if rows == 0:
            return out
        # Both are held by a name until the call returns: only their addresses go into it.
        x, into = x.contiguous(), out.contiguous()
        bias_rows = packed.outputs * 2 if packed.gated else packed.outputs
        self._products.linear(
            packed,
            x.data_ptr(),
            rows,
            into.data_ptr(),
            bias=0 if weight.bias is None else parameter_address(weight.bias, bias_rows),
            norm=0 if norm is None else parameter_address(norm.weight, packed.inputs),
            epsilon=0.0 if norm is None else norm.epsilon,
            add=add_to is not None,
        )
        return into


def check(values: Tensor, shape: tuple[int, ...]) -> None:
    """The extension reads `shape` float32 numbers at the tensor's address."""
    if values.shape != shape or values.dtype != torch.float32 or values.device.type != "cpu":
        raise ValueError(
            f"float32{list(shape)} on the CPU is needed, not {values.dtype}{list(values.shape)} on {values.device}"
        )


def parameter_address(values: Tensor, size: int) -> int:
    """Of f32[size], which lives as long as the model and is dense."""
    check(values, (size,))
    if not values.is_contiguous():
        raise ValueError(f"a dense tensor is needed, not one with strides {values.stride()}")
    return values.data_ptr()
