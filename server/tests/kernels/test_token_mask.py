"""The mask kernel equals plain torch: forbidden logits are -inf, the others as they were."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("triton")

from shardline.kernels.token_mask import apply_token_masks
from shardline.sampling.masks import apply_masks, apply_masks_by_kernel


def inputs(vocabulary, rows, words, device, generator):
    logits = torch.randn(8, vocabulary, generator=generator, device=device)
    masks = torch.randint(
        -(2**31), 2**31 - 1, (len(rows), words), dtype=torch.int32, generator=generator, device=device
    )
    # Whole words of either kind are the usual case.
    masks[:, ::3] = 0
    masks[:, 1::5] = -1
    return logits, masks


@pytest.mark.parametrize(
    ("vocabulary", "rows"), [(5000, [0]), (4096, [7, 2, 3]), (131, [1, 0]), (49152, [4, 6])]
)
def test_the_kernel_equals_torch(vocabulary, rows, device, generator):
    logits, masks = inputs(vocabulary, rows, -(-vocabulary // 32), device, generator)
    picked = np.array(rows, np.int32)
    expected = logits.clone()
    apply_masks(expected, picked, masks.cpu())
    by_kernel = logits.clone()
    apply_masks_by_kernel(by_kernel, picked, masks.cpu())
    assert torch.equal(by_kernel, expected)
    untouched = [row for row in range(8) if row not in rows]
    assert torch.equal(by_kernel[untouched], logits[untouched])
    assert (by_kernel[rows] == float("-inf")).any() and torch.isfinite(by_kernel[rows]).any()


def test_half_precision_and_tokens_beyond_the_words(device, generator):
    logits, masks = inputs(300, [5], 9, device, generator)
    half = logits.half()
    apply_token_masks(half, torch.tensor([5], dtype=torch.int32, device=device), masks)
    allowed = ((masks[0].cpu().unsqueeze(-1) >> torch.arange(32)) & 1).bool().view(-1)
    assert torch.isfinite(half[5, :288]).cpu().tolist() == allowed.tolist()
    assert torch.isinf(half[5, 288:]).all()
