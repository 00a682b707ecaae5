"""Which heads, columns and tokens of a model a rank holds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Range:
    """The half-open range [start, start + length)."""

    start: int
    length: int


@dataclass(frozen=True, slots=True)
class HeadSplit:
    """A rank's query heads and the KV heads they read.

    With more ranks than KV heads several ranks hold the same KV head.
    """

    query: Range
    key_value: Range


def can_split_heads(num_heads: int, num_kv_heads: int, world_size: int) -> bool:
    """Whether every rank gets whole groups of heads."""
    return num_heads % world_size == 0 and (num_kv_heads % world_size == 0 or world_size % num_kv_heads == 0)


def split_heads(num_heads: int, num_kv_heads: int, rank: int, world_size: int) -> HeadSplit:
    """The heads of one rank. `can_split_heads` holds."""
    queries = num_heads // world_size
    kv_heads = max(1, num_kv_heads // world_size)
    return HeadSplit(
        query=Range(rank * queries, queries),
        key_value=Range(rank * num_kv_heads // world_size, kv_heads),
    )


def split_tokens(vocab_size: int, rank: int, world_size: int) -> Range:
    """The tokens whose embedding and logit a rank holds; the last rank may have fewer, or none."""
    each = -(-vocab_size // world_size)
    start = min(rank * each, vocab_size)
    return Range(start, min(each, vocab_size - start))
