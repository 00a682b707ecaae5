"""What the kernels must compute, in float32 and plain torch."""

from __future__ import annotations

import torch
from torch import Tensor


def relative_error(value: Tensor, expected: Tensor) -> float:
    """|value - expected| / |expected| over the whole tensor; infinite for any NaN."""
    difference = (value.float() - expected.float()).norm() / expected.float().norm()
    return float("inf") if bool(difference.isnan()) else float(difference)


def tolerance(dtype: torch.dtype) -> float:
    """Relative error that rounding of inputs and outputs explains, over a tensor's norm."""
    return {torch.bfloat16: 8e-3, torch.float16: 2e-3, torch.float32: 2e-5}[dtype]


def rms_norm(x: Tensor, gamma: Tensor, eps: float) -> Tensor:
    """Root mean square norm over the last dimension."""
    x = x.float()
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * gamma.float()


def swiglu(gate_up: Tensor) -> Tensor:
    """silu of the first half times the second half."""
    gate, up = gate_up.float().chunk(2, -1)
    return torch.nn.functional.silu(gate) * up


def rotate(x: Tensor, positions: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rope on [tokens, heads, dim], half style, partial where cos is narrower than dim / 2."""
    half = cos.shape[1]
    c, s = cos[positions.long()][:, None], sin[positions.long()][:, None]
    a, b, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return torch.cat([a * c - b * s, b * c + a * s, rest], -1)


def attend(query: Tensor, keys: Tensor, values: Tensor, scale: float, window: int | None) -> Tensor:
    """Causal attention of the last query.shape[0] positions of one sequence.

    query: [queries, heads, dim]; keys, values: [length, kv_heads, dim]
    """
    group = query.shape[1] // keys.shape[1]
    keys, values = keys.repeat_interleave(group, 1), values.repeat_interleave(group, 1)
    score = torch.einsum("qhd,khd->hqk", query.float(), keys.float()) * scale
    length, queries = keys.shape[0], query.shape[0]
    at = torch.arange(length, device=query.device)
    own = at[length - queries :, None]
    seen = at[None, :] <= own
    if window is not None:
        seen &= at[None, :] > own - window
    weight = score.masked_fill(~seen, float("-inf")).softmax(-1)
    return torch.einsum("hqk,khd->qhd", weight, values.float())
