"""Prompts by flash-attn-4 (CuTe DSL), single tokens by our decode kernel, over the same cache.

Steps of few tokens stay with our own kernel for prompts, which is faster there by a microsecond a layer. The
library gains with the length of what was there before a chunk: a third of our kernel's time is saved for 1,024 tokens
after 7,168 with heads of 128. With heads of 64 it gains nothing. Where a step's rows lie is read on the
device, so steps are captured as with our kernels: for rows of one token the library is told that they have
none.

A page is as long as the library's tile of keys, which it then loads in bulk, past a sequence's end in its
last page: there lies what an earlier sequence left. Its weight is 0, but 0 times infinity is not a number,
so the type must be one that does not overflow. Hence bfloat16 alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from shardline.attention.base import StepRows
from shardline.attention.registry import UnavailableAttentionError
from shardline.attention.triton_backend import TritonAttention, TritonMetadata

TESTED = "flash-attn-4==4.0.0b36"
FEWEST_TOKENS = 256
# Above so many rows the library looks rows up another way, which is a kernel of its own.
_ROWS_OF_KINDS = (1, 257)


@dataclass(frozen=True, slots=True)
class _Chunks:
    """`used`: i32[rows], tokens of rows with more than one, else 0; `tables`: i32[rows, max_blocks]."""

    used: Tensor
    tables: Tensor


class FlashAttention4(TritonAttention):
    """See the module's text."""

    name: ClassVar[str] = "flash-attn-4"
    preferred_block_size: ClassVar[int] = 128

    def allocate(self, num_blocks: int, block_size: int) -> None:
        super().allocate(num_blocks, block_size)
        try:
            for rows in _ROWS_OF_KINDS:
                if rows <= self.facts.max_rows:
                    self._compile(rows)
        except (ImportError, TypeError, AttributeError) as error:
            # What we call is not its public interface, which may differ in another version.
            raise UnavailableAttentionError(
                self.name, f"does not work as installed ({error}): run `pip install {TESTED}`"
            ) from error

    def _plan_chunks(self, rows: StepRows) -> object:
        if rows.positions.shape[0] < FEWEST_TOKENS:
            return super()._plan_chunks(rows)
        counts = rows.query_starts.diff()
        return _Chunks(
            used=counts.masked_fill_(counts == 1, 0), tables=rows.block_tables.index_select(0, rows.slots)
        )

    def _attend_chunks(self, layer: int, qkv: Tensor, metadata: TritonMetadata, out: Tensor) -> None:
        rows, chunks = metadata.rows, metadata.plan
        if isinstance(chunks, _Chunks):
            self._flash(layer, qkv, rows.query_starts, rows.context_lengths, chunks, out)
        else:
            super()._attend_chunks(layer, qkv, metadata, out)

    def _flash(
        self,
        layer: int,
        qkv: Tensor,
        query_starts: Tensor,
        context_lengths: Tensor,
        chunks: _Chunks,
        out: Tensor,
    ) -> None:
        """Attention of rows whose keys are in the cache; tokens of other rows are not touched.

        `qkv`: dtype[tokens, (num_heads + 2 * num_kv_heads) * head_dim], queries turned.
        """
        # Not its public function: that one has no place to write to.
        from flash_attn.cute.interface import _flash_attn_fwd

        facts, tokens = self.facts, qkv.shape[0]
        window = facts.windows[layer]
        _flash_attn_fwd(
            qkv[:, : facts.num_heads * facts.head_dim].view(tokens, facts.num_heads, facts.head_dim),
            self._cache[layer, :, 0].transpose(1, 2),
            self._cache[layer, :, 1].transpose(1, 2),
            cu_seqlens_q=query_starts,
            seqused_q=chunks.used,
            seqused_k=context_lengths,
            page_table=chunks.tables,
            softmax_scale=facts.scale,
            causal=True,
            window_size_left=None if window is None else window - 1,
            out=out.view(tokens, facts.num_heads, facts.head_dim),
        )

    def _compile(self, rows: int) -> None:
        """Compiles, or loads what was compiled before, for so many rows: no step must wait for that."""
        facts = self.facts
        tokens = rows + 1
        width = (facts.num_heads + 2 * facts.num_kv_heads) * facts.head_dim
        qkv = torch.zeros((tokens, width), dtype=facts.dtype, device=facts.device)
        out = torch.empty_like(qkv[:, : facts.num_heads * facts.head_dim])
        counts = torch.ones(rows, dtype=torch.int32, device=facts.device)
        counts[0] = 2
        starts = torch.zeros(rows + 1, dtype=torch.int32, device=facts.device)
        starts[1:] = counts.cumsum(0)
        tables = torch.zeros((rows, 1), dtype=torch.int32, device=facts.device)
        chunks = _Chunks(counts.masked_fill(counts == 1, 0), tables)
        # Layers of one window share a kernel.
        for layer in {window is None: layer for layer, window in enumerate(facts.windows)}.values():
            self._flash(layer, qkv, starts, counts, chunks, out)
