"""Attention in plain torch: the backend of the CPU and the oracle of the others.

The cache of a layer is one tensor `dtype[num_blocks * block_size + 1, 2 * num_kv_heads * head_dim]`,
keys beside values. Its last row is never written and stays zero: whatever a gather must pad reads
that row, so that what an earlier sequence left in a block (NaN, for instance) can never reach
another one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from shardline.attention.base import AttentionBackend, QueryKeyNorm, StepRows
from shardline.ops.torch_ops import rms_norm

NEGATIVE_INFINITY = float("-inf")


@dataclass(frozen=True, slots=True)
class _Gather:
    """Rows that attend together: decode rows, or one chunk of prefill.

    `tokens`: which tokens of the step; `keys`: i64[sequences * length] rows of the cache;
    `masks`: by window, dtype[sequences, 1, queries, length], 0 where a query sees a key and -inf
    elsewhere; none where every query sees all keys.
    """

    tokens: slice
    sequences: int
    queries: int
    keys: Tensor
    masks: dict[int | None, Tensor | None]


@dataclass(frozen=True, slots=True)
class TorchMetadata:
    """`cos`, `sin`: dtype[tokens, 1, rotary_dim / 2]; `writes`: i64[tokens] rows of the cache."""

    cos: Tensor
    sin: Tensor
    writes: Tensor
    gathers: tuple[_Gather, ...]


def rotate_(x: Tensor, cos: Tensor, sin: Tensor) -> None:
    """Rope in "half" style on `x`: dtype[tokens, heads, head_dim], in place (Su et al. 2021).

    `cos`, `sin`: dtype[tokens, 1, rotary_dim / 2].
    """
    half = cos.shape[-1]
    first, second = x[..., :half], x[..., half : 2 * half]
    turned = first * cos - second * sin
    second.mul_(cos).add_(first * sin)
    first.copy_(turned)


def _zeros(shape: tuple[int, int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros that take main memory only where they are written: the pages come from the system empty."""
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    pages = np.zeros(shape[0] * shape[1] * dtype.itemsize, np.uint8)
    return torch.from_numpy(pages).view(dtype).view(shape)


class TorchAttention(AttentionBackend):
    """Decode rows attend in one padded batch, each chunk of prefill by itself."""

    name: ClassVar[str] = "torch"
    preferred_block_size: ClassVar[int] = 16

    _caches: list[Tensor]
    _block_size: int
    _zero_row: int

    def bytes_per_block(self, block_size: int) -> int:
        facts = self.facts
        width = 2 * facts.num_kv_heads * facts.head_dim * facts.dtype.itemsize
        return facts.num_layers * width * block_size

    def allocate(self, num_blocks: int, block_size: int) -> None:
        facts = self.facts
        shape = (num_blocks * block_size + 1, 2 * facts.num_kv_heads * facts.head_dim)
        self._caches = [_zeros(shape, facts.dtype, facts.device) for _ in range(facts.num_layers)]
        self._block_size = block_size
        self._zero_row = num_blocks * block_size

    def prepare(self, rows: StepRows) -> TorchMetadata:
        positions = rows.positions[: rows.num_tokens].long()
        cos, sin = self.facts.rope
        return TorchMetadata(
            cos=cos[positions].unsqueeze(1).to(self.facts.dtype),
            sin=sin[positions].unsqueeze(1).to(self.facts.dtype),
            writes=rows.kv_slots[: rows.num_tokens].long(),
            gathers=tuple(self._gathers(rows)),
        )

    def _gathers(self, rows: StepRows) -> list[_Gather]:
        gathers: list[_Gather] = []
        decode, contexts = rows.num_decode_rows, rows.host.context_lengths
        if decode:
            longest = int(contexts[:decode].max())
            is_ragged = int(contexts[:decode].min()) < longest
            gathers.append(self._gather(rows, slice(0, decode), slice(0, decode), longest, is_ragged))
        for row in range(decode, rows.num_rows):
            start, end = rows.host.query_starts[row : row + 2].tolist()
            part = slice(row, row + 1)
            gathers.append(self._gather(rows, part, slice(start, end), int(contexts[row]), end - start > 1))
        return gathers

    def _gather(self, rows: StepRows, part: slice, tokens: slice, length: int, needs_mask: bool) -> _Gather:
        """The keys of the rows in `part`, padded to `length`, and who sees which."""
        size = self._block_size
        sequences = part.stop - part.start
        key_positions = torch.arange(length, device=self.facts.device)
        tables = rows.block_tables[rows.slots[part].long()]
        blocks = tables.index_select(1, key_positions // size).long()
        keys = blocks * size + key_positions % size
        contexts = rows.context_lengths[part].long()
        keys = torch.where(key_positions < contexts.unsqueeze(1), keys, self._zero_row)
        queries = rows.positions[tokens].long().view(sequences, 1, -1, 1)
        masks: dict[int | None, Tensor | None] = {}
        for window in set(self.facts.windows):
            if window is None and not needs_mask:
                masks[window] = None
                continue
            hidden = key_positions > queries
            if window is not None:
                hidden |= key_positions <= queries - window
            mask = torch.zeros(hidden.shape, dtype=self.facts.dtype, device=self.facts.device)
            masks[window] = mask.masked_fill_(hidden, NEGATIVE_INFINITY)
        return _Gather(tokens, sequences, queries.shape[2], keys.flatten(), masks)

    def forward(self, layer: int, qkv: Tensor, norm: QueryKeyNorm | None, metadata: object) -> Tensor:
        assert isinstance(metadata, TorchMetadata)
        facts = self.facts
        num_q, num_kv, dim = facts.num_heads, facts.num_kv_heads, facts.head_dim
        tokens = qkv.shape[0]
        heads = qkv.view(tokens, num_q + 2 * num_kv, dim)
        if norm is not None:
            heads[:, :num_q] = rms_norm(heads[:, :num_q], norm.query)
            heads[:, num_q : num_q + num_kv] = rms_norm(heads[:, num_q : num_q + num_kv], norm.key)
        rotate_(heads[:, : num_q + num_kv], metadata.cos, metadata.sin)
        cache, query = self._caches[layer], heads[:, :num_q]
        cache.index_copy_(0, metadata.writes, qkv[:, num_q * dim :])
        window = facts.windows[layer]
        if len(metadata.gathers) == 1:
            return self._attend(query, cache, metadata.gathers[0], window)
        output = torch.empty((tokens, num_q * dim), dtype=qkv.dtype, device=qkv.device)
        for gather in metadata.gathers:
            output[gather.tokens] = self._attend(query[gather.tokens], cache, gather, window)
        return output

    def _attend(self, query: Tensor, cache: Tensor, gather: _Gather, window: int | None) -> Tensor:
        """`query`: dtype[tokens, num_heads, head_dim] → dtype[tokens, num_heads * head_dim]."""
        facts = self.facts
        count, dim, num_kv = gather.sequences, facts.head_dim, facts.num_kv_heads
        gathered = cache.index_select(0, gather.keys).view(count, -1, 2, num_kv, dim)
        key, value = gathered[:, :, 0].transpose(1, 2), gathered[:, :, 1].transpose(1, 2)
        mask = gather.masks[window]
        if gather.queries == 1:
            # The heads that share a KV head stand in for queries: it is then read once for them all.
            queries = query.reshape(count, num_kv, -1, dim)
            attended = functional.scaled_dot_product_attention(
                queries, key, value, attn_mask=mask, scale=facts.scale
            )
            return attended.reshape(count, -1)
        queries = query.view(count, gather.queries, facts.num_heads, dim).transpose(1, 2)
        attended = functional.scaled_dot_product_attention(
            queries,
            key,
            value,
            attn_mask=mask,
            scale=facts.scale,
            enable_gqa=facts.num_heads != num_kv,
        )
        return attended.transpose(1, 2).reshape(gather.sequences * gather.queries, -1)
