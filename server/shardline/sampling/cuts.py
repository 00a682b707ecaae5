"""Cuts of the distribution: which tokens may be drawn at all.

A cut never sorts: it finds the exact threshold by bisection over the bits of positive floats, which
are ordered as integers. All rows take the same steps, so nothing waits for the device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NEGATIVE_INFINITY = float("-inf")
BITS = 31


@dataclass(frozen=True, slots=True)
class Cuts:
    """One entry a row: `top_k`: i32, 0 off; `top_p`, `typical_p`: f32, 1 off; `min_p`: f32, 0 off.

    `uses_*`: whether any row has it on.
    """

    top_k: Tensor
    top_p: Tensor
    min_p: Tensor
    typical_p: Tensor
    uses_top_k: bool
    uses_top_p: bool
    uses_min_p: bool
    uses_typical_p: bool

    def apply(self, logits: Tensor, log_total: Tensor | None = None) -> Tensor:
        """`logits`: f32[rows, n] after temperature; what is cut becomes -inf (in place).

        `log_total`: f32[rows], when `logits` are only the largest ones of each row: the logarithm
        of the sum of all their exponentials. What is left out must be what `top_k`, or without it
        a later cut, takes away.
        """
        if self.uses_top_k:
            cut_top_k(logits, self.top_k)
            if log_total is not None:
                log_total = torch.where(self.top_k > 0, logits.logsumexp(dim=-1), log_total)
        if self.uses_top_p:
            cut_top_p(logits, self.top_p, log_total)
        if self.uses_min_p:
            cut_min_p(logits, self.min_p)
        if self.uses_typical_p:
            cut_typical_p(logits, self.typical_p)
        return logits

    def select(self, rows: Tensor) -> Cuts:
        """Those of `rows`: i64[m]."""
        return Cuts(
            top_k=self.top_k[rows],
            top_p=self.top_p[rows],
            min_p=self.min_p[rows],
            typical_p=self.typical_p[rows],
            uses_top_k=self.uses_top_k,
            uses_top_p=self.uses_top_p,
            uses_min_p=self.uses_min_p,
            uses_typical_p=self.uses_typical_p,
        )


def _smallest(weights: Tensor, values: Tensor, needed: Tensor) -> Tensor:
    """Per row the smallest t ≥ 0 with `sum(weights where values > t) < needed`: f32[rows, 1].

    `values`: f32[rows, n] ≥ 0. Entries at or above t are the fewest largest ones whose weights
    reach `needed` (f32[rows]), with all that equal the last of them.
    """
    bits = values.view(torch.int32)
    low = torch.full_like(needed, -1, dtype=torch.int32)
    high = bits.amax(dim=-1)
    for _ in range(BITS):
        middle = (low + high) >> 1
        above = torch.where(bits > middle.unsqueeze(-1), weights, 0.0).sum(dim=-1)
        enough = above < needed
        high = torch.where(enough, middle, high)
        low = torch.where(enough, low, middle)
    return high.clamp_(min=0).view(torch.float32).unsqueeze(-1)


def cut_top_k(logits: Tensor, top_k: Tensor) -> Tensor:
    """Keeps the `top_k` largest (and what equals the last of them); 0 keeps all."""
    weights = torch.softmax(logits, dim=-1)
    counts = torch.where(top_k > 0, top_k, logits.shape[-1]).float()
    threshold = _smallest(torch.ones_like(weights), weights, counts)
    return logits.masked_fill_(weights < threshold, NEGATIVE_INFINITY)


def cut_top_p(logits: Tensor, top_p: Tensor, log_total: Tensor | None = None) -> Tensor:
    """Keeps the fewest most likely whose probabilities reach `top_p` (Holtzman et al. 2020).

    `log_total`: f32[rows], see `Cuts.apply`.
    """
    if log_total is None:
        weights = torch.softmax(logits, dim=-1)
    else:
        weights = (logits - log_total.unsqueeze(-1)).exp_()
    threshold = _smallest(weights, weights, top_p)
    out = (weights < threshold) & (top_p < 1.0).unsqueeze(-1)
    return logits.masked_fill_(out, NEGATIVE_INFINITY)


def cut_min_p(logits: Tensor, min_p: Tensor) -> Tensor:
    """Keeps what is at least `min_p` times as likely as the most likely (Nguyen et al. 2024)."""
    threshold = logits.amax(dim=-1, keepdim=True) + min_p.log().unsqueeze(-1)
    return logits.masked_fill_(logits < threshold, NEGATIVE_INFINITY)


def cut_typical_p(logits: Tensor, typical_p: Tensor) -> Tensor:
    """Keeps those nearest to the expected information until they reach `typical_p`.

    Meister et al. 2023.
    """
    log_probabilities = torch.log_softmax(logits, dim=-1)
    weights = log_probabilities.exp()
    finite = torch.where(weights > 0, log_probabilities, 0.0)
    entropy = -(finite * weights).sum(dim=-1, keepdim=True)
    distances = (log_probabilities + entropy).abs()
    nearness = 1.0 / (1.0 + distances)
    threshold = _smallest(weights, nearness, typical_p)
    out = (nearness < threshold) & (typical_p < 1.0).unsqueeze(-1)
    return logits.masked_fill_(out, NEGATIVE_INFINITY)
