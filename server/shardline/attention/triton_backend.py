"""Attention by our Triton kernels: paged, for any mix of single tokens and chunks of prompts.

Rows that bring one token take the split-KV decode kernel, which turns, writes and attends at once;
all others are turned and written first and take the prefill kernel. Which row is which is read on
the device, so a captured graph serves every step of its padded size.

The cache of a layer is dtype[blocks, 2, kv_heads, block, dim]. It starts as zeros and a key that no
query may see is never part of a sum, so nothing of an earlier sequence reaches a later one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from shardline.attention.base import AttentionBackend, AttentionFacts, QueryKeyNorm, StepRows
from shardline.kernels import decode_attention, prefill_attention
from shardline.kernels.chaining import Chain
from shardline.kernels.choice import MOST_FEW_ROWS, chain_for
from shardline.kernels.rotary import HeadGeometry, HeadNorm, rope_and_write
from shardline.kernels.target import KernelTarget


@dataclass(frozen=True, slots=True)
class TritonMetadata:
    """What every layer of a step needs.

    `singles`, `chunks`: whether rows of one token, and of more, may be there. `plan`: what attention of
    chunks needs, see `_plan_chunks`; none where there are none.
    """

    rows: StepRows
    singles: bool
    chunks: bool
    decode_tile: decode_attention.DecodeTile
    plan: object
    chain: Chain


class TritonAttention(AttentionBackend):
    """See the module's text."""

    name: ClassVar[str] = "triton"
    preferred_block_size: ClassVar[int] = 64

    _cache: Tensor
    _scratch: decode_attention.DecodeScratch
    _plan: prefill_attention.PrefillPlan
    _branch: torch.cuda.Stream | None

    def __init__(self, facts: AttentionFacts) -> None:
        super().__init__(facts)
        cos, sin = facts.rope
        self._branch = None
        self._target = KernelTarget.of(facts.device)
        self._geometry = HeadGeometry(facts.num_heads, facts.num_kv_heads, facts.head_dim, cos, sin)
        self._prefill_tile = prefill_attention.choose_tile(facts.head_dim, self._target.capability)

    def bytes_per_block(self, block_size: int) -> int:
        facts = self.facts
        width = facts.num_kv_heads * facts.head_dim * facts.dtype.itemsize
        return 2 * facts.num_layers * width * block_size

    def allocate(self, num_blocks: int, block_size: int) -> None:
        facts = self.facts
        shape = (facts.num_layers, num_blocks, 2, facts.num_kv_heads, block_size, facts.head_dim)
        self._cache = torch.zeros(shape, dtype=facts.dtype, device=facts.device)
        parts = decode_attention.most_parts(facts.max_rows, facts.num_kv_heads, self._target.multiprocessors)
        self._scratch = decode_attention.DecodeScratch.allocate(
            parts, facts.max_rows, self._geometry, facts.device
        )
        self._plan = prefill_attention.PrefillPlan.allocate(
            facts.max_step_tokens, facts.max_rows, self._prefill_tile, facts.device
        )

    def prepare(self, rows: StepRows) -> TritonMetadata:
        counts = np.diff(rows.host.query_starts)
        chunks = bool((counts > 1).any())
        tokens, padded_rows = rows.positions.shape[0], rows.slots.shape[0]
        return TritonMetadata(
            rows=rows,
            singles=bool((counts == 1).any()),
            chunks=chunks,
            decode_tile=decode_attention.choose_tile(
                padded_rows, self.facts.num_kv_heads, self._target.multiprocessors, rows.uneven
            ),
            plan=self._plan_chunks(rows) if chunks else None,
            chain=Chain.OFF if chunks else chain_for(tokens, MOST_FEW_ROWS, self._target),
        )

    def _plan_chunks(self, rows: StepRows) -> object:
        """Lists the tiles of the step's chunks on the device; their bound, which the host knows."""
        prefill_attention.plan_tiles(rows.query_starts, self._plan, self._prefill_tile)
        return (
            rows.positions.shape[0] // self._prefill_tile.queries + rows.slots.shape[0] - rows.num_decode_rows
        )

    def forward(self, layer: int, qkv: Tensor, norm: QueryKeyNorm | None, metadata: object) -> Tensor:
        assert isinstance(metadata, TritonMetadata)
        facts = self.facts
        out = qkv.new_empty((qkv.shape[0], facts.num_heads * facts.head_dim))
        head_norm = None
        if norm is not None:
            head_norm = HeadNorm(norm.query.weight, norm.key.weight, norm.query.epsilon)
        on_card = facts.device.type == "cuda"
        if metadata.chunks and metadata.singles and on_card and torch.cuda.is_current_stream_capturing():
            self._beside(
                lambda: self._chunks(layer, qkv, head_norm, metadata, out),
                lambda: self._singles(layer, qkv, head_norm, metadata, out),
            )
            return out
        if metadata.chunks:
            self._chunks(layer, qkv, head_norm, metadata, out)
        if metadata.singles:
            self._singles(layer, qkv, head_norm, metadata, out)
        return out

    def _beside(self, chunks: Callable[[], None], singles: Callable[[], None]) -> None:
        """Both as branches of the graph: chunks wait for arithmetic, single tokens for the memory.

        No row of one reads or writes what the other's rows write. Single tokens are launched first: the other
        way round a step of 49 rows and 79 tokens takes 4 % longer, one of 99 and 221 as long.
        """
        current = torch.cuda.current_stream(self.facts.device)
        if self._branch is None:
            self._branch = torch.cuda.Stream(self.facts.device)
        self._branch.wait_stream(current)
        singles()
        with torch.cuda.stream(self._branch):
            chunks()
        current.wait_stream(self._branch)

    def _singles(
        self, layer: int, qkv: Tensor, norm: HeadNorm | None, metadata: TritonMetadata, out: Tensor
    ) -> None:
        facts, rows = self.facts, metadata.rows
        decode_attention.decode_attention(
            qkv,
            self._cache[layer],
            self._geometry,
            rows.block_tables,
            rows.slots,
            rows.query_starts,
            rows.context_lengths,
            out,
            self._scratch,
            metadata.decode_tile,
            scale=facts.scale,
            norm=norm,
            window=facts.windows[layer],
            chain=metadata.chain,
        )

    def _chunks(
        self, layer: int, qkv: Tensor, norm: HeadNorm | None, metadata: TritonMetadata, out: Tensor
    ) -> None:
        """Rows of more than one token."""
        rows = metadata.rows
        rope_and_write(
            qkv,
            self._cache[layer],
            self._geometry,
            rows.query_starts,
            rows.token_rows,
            rows.positions,
            rows.kv_slots,
            norm=norm,
            skip_single_token_rows=True,
        )
        self._attend_chunks(layer, qkv, metadata, out)

    def _attend_chunks(self, layer: int, qkv: Tensor, metadata: TritonMetadata, out: Tensor) -> None:
        """The same, their keys being in the cache."""
        rows, most_tiles = metadata.rows, metadata.plan
        assert isinstance(most_tiles, int)
        prefill_attention.prefill_attention(
            qkv,
            self._cache[layer],
            self._geometry,
            rows.block_tables,
            rows.slots,
            rows.query_starts,
            rows.context_lengths,
            self._plan,
            out,
            self._prefill_tile,
            scale=self.facts.scale,
            max_tiles=most_tiles,
            window=self.facts.windows[layer],
        )
