"""Grammar masks on logits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

I32 = npt.NDArray[np.int32]

ApplyMasks = Callable[[Tensor, I32, Tensor], None]
"""(logits, rows, masks): logits that may not come become -inf, in place. `logits`: [n, vocab].
`rows`: i32[m], host; `masks`: i32[m, ceil(vocab / 32)], on the host, pinned for a GPU; the bit of
token t is bit t % 32 of word t // 32, set when t may come."""


def apply_masks(logits: Tensor, rows: I32, masks: Tensor) -> None:
    """An `ApplyMasks` in plain torch, for any device: the reference."""
    device = logits.device
    words = masks.to(device, non_blocking=True)
    bits = torch.arange(32, dtype=torch.int32, device=device)
    allowed = ((words.unsqueeze(-1) >> bits) & 1).bool().view(len(rows), -1)[:, : logits.shape[1]]
    picked = torch.from_numpy(rows.astype(np.int64)).to(device, non_blocking=True)
    kept = logits.index_select(0, picked).masked_fill_(~allowed, float("-inf"))
    logits.index_copy_(0, picked, kept)


def apply_masks_by_kernel(logits: Tensor, rows: I32, masks: Tensor) -> None:
    """An `ApplyMasks` in one launch, for dense logits on a GPU."""
    # Imported where there is a GPU: Triton is not there without one.
    from shardline.kernels.token_mask import apply_token_masks

    device = logits.device
    picked = torch.from_numpy(rows)
    if device.type == "cuda":
        picked = picked.pin_memory()
    apply_token_masks(
        logits, picked.to(device, non_blocking=True), masks.to(device, non_blocking=True).contiguous()
    )
