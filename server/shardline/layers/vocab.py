"""Embedding and head, split over ranks by token."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from shardline.dist.group import ParallelGroup
from shardline.layers.linear import Loading, part_of
from shardline.layers.split import split_tokens
from shardline.ops.base import Hidden, LinearWeight, Norm, Ops


def _load_table(loading: Loading, name: str, vocab_size: int, hidden_size: int) -> Tensor:
    """dtype[ceil(vocab_size / world_size), hidden]: this rank's tokens; missing ones are zero."""
    tokens = split_tokens(vocab_size, loading.group.rank, loading.group.world_size)
    return loading.reader.read(part_of(name, (vocab_size, hidden_size), 0, tokens))


@dataclass(frozen=True, slots=True)
class VocabEmbedding:
    """Token ids → the residual stream."""

    ops: Ops
    group: ParallelGroup
    table: Tensor

    @classmethod
    def load(cls, loading: Loading, name: str, vocab_size: int, hidden_size: int) -> VocabEmbedding:
        """This rank's tokens."""
        return cls(loading.ops, loading.group, _load_table(loading, name, vocab_size, hidden_size))

    def __call__(self, token_ids: Tensor, next_norm: Norm) -> Hidden:
        """`token_ids`: i32[rows]. `next_norm`: of the first layer."""
        first = self.group.rank * self.table.shape[0]
        hidden = self.ops.embed(token_ids, self.table, first, next_norm)
        if self.group.world_size == 1:
            return hidden
        return self.ops.sum_residual(hidden.values, None, self.group, next_norm)


@dataclass(frozen=True, slots=True)
class LmHead:
    """The residual stream → logits of all tokens."""

    ops: Ops
    group: ParallelGroup
    weight: LinearWeight
    vocab_size: int

    @classmethod
    def load(cls, loading: Loading, name: str, vocab_size: int, hidden_size: int) -> LmHead:
        """A head with its own weights."""
        table = _load_table(loading, name, vocab_size, hidden_size)
        return cls(loading.ops, loading.group, loading.pack(LinearWeight(table), head=True), vocab_size)

    @classmethod
    def tied(cls, loading: Loading, embedding: VocabEmbedding, vocab_size: int) -> LmHead:
        """A head that shares the embedding's weights."""
        weight = loading.pack(LinearWeight(embedding.table), head=True)
        return cls(embedding.ops, embedding.group, weight, vocab_size)

    def __call__(self, x: Hidden, rows: Tensor | None, norm: Norm) -> Tensor:
        """f32[n, vocab_size], equal on all ranks. `rows`: i64[n], none is all."""
        logits = self.group.concatenate_columns(self.ops.logits(x, rows, norm, self.weight))
        return logits[:, : self.vocab_size]
