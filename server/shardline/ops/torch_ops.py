"""The dense products in plain torch: right everywhere, and the oracle of the other backends."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from shardline.ops.base import Hidden, LinearWeight, Norm, Ops


def rms_norm(values: Tensor, norm: Norm) -> Tensor:
    """RMSNorm over the last dimension; the mean is taken in float32 (Zhang & Sennrich 2019)."""
    wide = values.float()
    scale = torch.rsqrt(wide.square().mean(dim=-1, keepdim=True).add_(norm.epsilon))
    return wide.mul(scale).to(values.dtype).mul_(norm.weight)


def float32_product(x: Tensor, weight: Tensor) -> Tensor:
    """`x @ weight.T`: f32[rows, out], the sums as they were added up where the device's library gives them.

    Elsewhere (half types on the CPU, torch before 2.8) they are rounded to the inputs' type.
    """
    half = x.dtype in (torch.bfloat16, torch.float16)
    if half and x.device.type == "cuda" and x.shape[0] and hasattr(torch.ops.aten.mm, "dtype"):
        return torch.mm(x, weight.T, out_dtype=torch.float32)
    return functional.linear(x, weight).float()


class TorchOps(Ops):
    """Each product is one `torch.nn.functional.linear`."""

    name: ClassVar[str] = "torch"

    def embed(
        self, token_ids: Tensor, table: Tensor, first_token: int, next_norm: Norm | None = None
    ) -> Hidden:
        tokens = table.shape[0]
        if first_token == 0 and tokens == self.facts.vocab_size:
            return Hidden(functional.embedding(token_ids, table))
        local = token_ids - first_token
        here = (local >= 0) & (local < tokens)
        rows = functional.embedding(local.clamp(0, tokens - 1), table)
        return Hidden(rows.mul_(here.unsqueeze(-1)))

    def norm_linear(self, x: Hidden, norm: Norm, weight: LinearWeight) -> Tensor:
        return functional.linear(rms_norm(x.values, norm), weight.weight, weight.bias)

    def norm_linear_swiglu(self, x: Hidden, norm: Norm, weight: LinearWeight) -> Tensor:
        gate, up = self.norm_linear(x, norm, weight).chunk(2, dim=-1)
        return functional.silu(gate).mul_(up)

    def linear_residual(
        self,
        h: Tensor,
        weight: LinearWeight,
        residual: Hidden | None,
        next_norm: Norm | None = None,
    ) -> Hidden:
        product = functional.linear(h, weight.weight, weight.bias)
        return Hidden(product if residual is None else product.add_(residual.values))

    def logits(self, x: Hidden, rows: Tensor | None, norm: Norm, weight: LinearWeight) -> Tensor:
        values = x.values if rows is None else x.values.index_select(0, rows)
        return float32_product(rms_norm(values, norm), weight.weight)
