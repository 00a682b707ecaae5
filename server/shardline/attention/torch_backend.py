"""Attention in plain torch: the backend of the CPU and the oracle of the others.

The cache of a layer is two tensors `dtype[num_blocks * block_size + 1, num_kv_heads * head_dim]`
whose last row is never written and stays zero: whatever a gather must pad reads that row, so that
what an earlier sequence left in a block (NaN, for instance) can never reach another one.
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


@dataclass(frozen=True, slots=True)
class _Gather:
    """Rows that attend together.

    `tokens`: which tokens of the step; `keys`: i64[sequences * length] rows of the cache;
    `masks`: by window, bool[sequences, 1, queries, length], true where a query sees a key.
    """

    tokens: slice
    sequences: int
    keys: Tensor
    masks: dict[int | None, Tensor]


@dataclass(frozen=True, slots=True)
class TorchMetadata:
    """`cos`, `sin`: f32[tokens, 1, rotary_dim / 2]; `writes`: i64[tokens] rows of the cache."""

    cos: Tensor
    sin: Tensor
    writes: Tensor
    gathers: tuple[_Gather, ...]


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rope in "half" style on `x`: dtype[tokens, heads, head_dim] (Su et al. 2021).

    `cos`, `sin`: dtype[tokens, 1, rotary_dim / 2].
    """
    half = cos.shape[-1]
    first, second = x[..., :half], x[..., half : 2 * half]
    rotated = (first * cos - second * sin, second * cos + first * sin, x[..., 2 * half :])
    return torch.cat(rotated, dim=-1)


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

    _keys: list[Tensor]
    _values: list[Tensor]
    _block_size: int
    _zero_row: int

    def bytes_per_block(self, block_size: int) -> int:
        facts = self.facts
        width = facts.num_kv_heads * facts.head_dim * facts.dtype.itemsize
        return 2 * facts.num_layers * width * block_size

    def allocate(self, num_blocks: int, block_size: int) -> None:
        facts = self.facts
        shape = (num_blocks * block_size + 1, facts.num_kv_heads * facts.head_dim)
        layers = range(facts.num_layers)
        self._keys = [_zeros(shape, facts.dtype, facts.device) for _ in layers]
        self._values = [_zeros(shape, facts.dtype, facts.device) for _ in layers]
        self._block_size = block_size
        self._zero_row = num_blocks * block_size

    def prepare(self, rows: StepRows) -> TorchMetadata:
        positions = rows.positions[: rows.num_tokens].long()
        cos, sin = self.facts.rope
        return TorchMetadata(
            cos=cos[positions].unsqueeze(1),
            sin=sin[positions].unsqueeze(1),
            writes=rows.kv_slots[: rows.num_tokens].long(),
            gathers=tuple(self._gathers(rows)),
        )

    def _gathers(self, rows: StepRows) -> list[_Gather]:
        gathers: list[_Gather] = []
        decode = rows.num_decode_rows
        if decode:
            longest = int(rows.host.context_lengths[:decode].max())
            gathers.append(self._gather(rows, slice(0, decode), slice(0, decode), longest))
        for row in range(decode, rows.num_rows):
            start, end = rows.host.query_starts[row : row + 2].tolist()
            length = int(rows.host.context_lengths[row])
            gathers.append(self._gather(rows, slice(row, row + 1), slice(start, end), length))
        return gathers

    def _gather(self, rows: StepRows, part: slice, tokens: slice, length: int) -> _Gather:
        """The keys of the rows in `part`, padded to `length`, and who sees which."""
        device = self.facts.device
        size = self._block_size
        sequences = part.stop - part.start
        key_positions = torch.arange(length, device=device)
        tables = rows.block_tables[rows.slots[part].long()]
        blocks = tables.index_select(1, key_positions // size).long()
        keys = blocks * size + key_positions % size
        contexts = rows.context_lengths[part].long()
        keys = torch.where(key_positions < contexts.unsqueeze(1), keys, self._zero_row)
        queries = rows.positions[tokens].long().view(sequences, 1, -1, 1)
        masks: dict[int | None, Tensor] = {}
        for window in set(self.facts.windows):
            mask = key_positions <= queries
            if window is not None:
                mask &= key_positions > queries - window
            masks[window] = mask
        return _Gather(tokens, sequences, keys.flatten(), masks)

    def forward(self, layer: int, qkv: Tensor, norm: QueryKeyNorm | None, metadata: object) -> Tensor:
        assert isinstance(metadata, TorchMetadata)
        facts = self.facts
        num_q, num_kv, dim = facts.num_heads, facts.num_kv_heads, facts.head_dim
        tokens = qkv.shape[0]
        query, key, value = qkv.split((num_q * dim, num_kv * dim, num_kv * dim), dim=-1)
        query, key = query.view(tokens, num_q, dim), key.view(tokens, num_kv, dim)
        if norm is not None:
            query, key = rms_norm(query, norm.query), rms_norm(key, norm.key)
        cos, sin = metadata.cos.to(qkv.dtype), metadata.sin.to(qkv.dtype)
        query, key = rotate(query, cos, sin), rotate(key, cos, sin)
        keys, values = self._keys[layer], self._values[layer]
        keys.index_copy_(0, metadata.writes, key.reshape(tokens, num_kv * dim))
        values.index_copy_(0, metadata.writes, value)
        output = torch.empty((tokens, num_q * dim), dtype=qkv.dtype, device=qkv.device)
        window = facts.windows[layer]
        for gather in metadata.gathers:
            output[gather.tokens] = self._attend(query[gather.tokens], keys, values, gather, window)
        return output

    def _attend(
        self, query: Tensor, keys: Tensor, values: Tensor, gather: _Gather, window: int | None
    ) -> Tensor:
        """`query`: dtype[tokens, num_heads, head_dim] → dtype[tokens, num_heads * head_dim]."""
        facts = self.facts
        count, dim = gather.sequences, facts.head_dim
        shape = (count, -1, facts.num_kv_heads, dim)
        key = keys.index_select(0, gather.keys).view(shape).transpose(1, 2)
        value = values.index_select(0, gather.keys).view(shape).transpose(1, 2)
        queries = query.view(count, -1, facts.num_heads, dim).transpose(1, 2)
        attended = functional.scaled_dot_product_attention(
            queries,
            key,
            value,
            attn_mask=gather.masks[window],
            scale=facts.scale,
            enable_gqa=facts.num_heads != facts.num_kv_heads,
        )
        return attended.transpose(1, 2).reshape(-1, facts.num_heads * dim)
