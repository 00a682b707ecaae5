"""The draw: cuts, then the Gumbel maximum.

On the CPU the cuts look at a short list of the largest logits first. Most rows are decided there,
with the same outcome as over the whole vocabulary, at a small part of the cost. On a GPU that
decision would have to wait for the device, so all rows take the long way.
"""

from __future__ import annotations

import torch
from torch import Tensor

from shardline.sampling.cuts import Cuts
from shardline.sampling.random import gumbel

SHORT_LIST = 256


def draw(scaled: Tensor, cuts: Cuts, keys: Tensor, token_ids: Tensor) -> Tensor:
    """i64[rows]. `scaled`: f32[rows, n] after temperature, may be overwritten.

    `keys`: i32[rows, 2]. `token_ids`: i32[n], 0 … n - 1.
    """
    has_cuts = cuts.uses_top_k or cuts.uses_top_p or cuts.uses_min_p
    if scaled.device.type != "cpu" or not has_cuts or scaled.shape[1] <= 2 * SHORT_LIST:
        return _draw_from_all(scaled, cuts, keys, token_ids)
    values, ids = scaled.topk(SHORT_LIST, dim=-1)
    log_total = scaled.logsumexp(dim=-1)
    decided = _is_decided(values, log_total, cuts)
    tokens = torch.empty(scaled.shape[0], dtype=torch.int64)
    short, long = decided.nonzero().squeeze(1), (~decided).nonzero().squeeze(1)
    if len(short):
        left = cuts.select(short).apply(values[short], log_total[short])
        best = left.add_(gumbel(keys[short], ids[short].int())).argmax(dim=-1, keepdim=True)
        tokens[short] = ids[short].gather(1, best).squeeze(1)
    if len(long):
        tokens[long] = _draw_from_all(scaled[long], cuts.select(long), keys[long], token_ids)
    return tokens


def _draw_from_all(scaled: Tensor, cuts: Cuts, keys: Tensor, token_ids: Tensor) -> Tensor:
    return cuts.apply(scaled).add_(gumbel(keys, token_ids)).argmax(dim=-1)


def _is_decided(values: Tensor, log_total: Tensor, cuts: Cuts) -> Tensor:
    """bool[rows]: whether everything outside of the list is cut.

    `values`: f32[rows, n], descending. A cut takes the whole outside when its threshold is above
    the last of the list (above: an equal one could be outside as well).
    """
    last = values[:, -1]
    width = values.shape[1]
    by_top_k = values.gather(1, (cuts.top_k.long() - 1).clamp(0, width - 1).unsqueeze(1)).squeeze(1) > last
    by_top_k &= (cuts.top_k > 0) & (cuts.top_k < width)
    reached = (values - log_total.unsqueeze(-1)).exp_().cumsum(dim=-1) >= cuts.top_p.unsqueeze(-1)
    first = reached.int().argmax(dim=-1, keepdim=True)
    by_top_p = (values.gather(1, first).squeeze(1) > last) & reached[:, -1] & (cuts.top_p < 1.0)
    by_min_p = values[:, 0] + cuts.min_p.log() > last
    return by_top_k | ((cuts.top_k == 0) & (by_top_p | by_min_p))
