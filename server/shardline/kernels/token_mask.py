"""Grammar masks: logits of tokens that may not come become -inf, in place."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

_CHUNK = 4096


@triton.jit
def _token_mask_kernel(
    logits,  # [*, VOCABULARY]
    rows,  # i32[m]
    masks,  # i32[m, WORDS]
    VOCABULARY: tl.constexpr,
    WORDS: tl.constexpr,
    CHUNK: tl.constexpr,
):
    entry = tl.program_id(0)
    token = tl.program_id(1) * CHUNK + tl.arange(0, CHUNK)
    row = tl.load(rows + entry).to(tl.int64)
    word = tl.load(masks + entry.to(tl.int64) * WORDS + token // 32, mask=token // 32 < WORDS, other=0)
    forbidden = ((word >> (token % 32)) & 1) == 0
    # Nothing is read, and only what changes is written.
    tl.store(
        logits + row * VOCABULARY + token,
        tl.full((CHUNK,), float("-inf"), logits.dtype.element_ty),
        mask=forbidden & (token < VOCABULARY),
    )


def apply_token_masks(logits: torch.Tensor, rows: torch.Tensor, masks: torch.Tensor) -> None:
    """Edits some rows.

    logits:  [n, vocabulary], contiguous, written
    rows:    i32[m], different rows of the logits
    masks:   i32[m, words]; the bit of token t is bit t % 32 of word t // 32, set when t may come;
             tokens beyond the words may not
    """
    vocabulary = logits.shape[1]
    grid = (rows.shape[0], triton.cdiv(vocabulary, _CHUNK))
    _token_mask_kernel[grid](
        logits, rows, masks, VOCABULARY=vocabulary, WORDS=masks.shape[1], CHUNK=_CHUNK, num_warps=4
    )
