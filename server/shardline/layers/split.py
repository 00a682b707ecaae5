"""Which heads, columns and tokens of a model a rank holds.

All ranks have the same room, so that they run the same kernels over the same shapes. What does not divide
leaves room over on the last ranks: it holds zeros, which add nothing to any sum.
"""

from __future__ import annotations

from dataclasses import dataclass

# Columns that do not divide are given out in tiles of so many, as products take them.
_TILE = 64


@dataclass(frozen=True, slots=True)
class Range:
    """The half-open range [start, start + length), at the beginning of `room` places."""

    start: int
    length: int
    room: int

    def times(self, width: int) -> Range:
        """The same of things that are `width` wide, in elements."""
        return Range(self.start * width, self.length * width, self.room * width)


@dataclass(frozen=True, slots=True)
class HeadSplit:
    """A rank's query heads and the KV heads they read.

    With more ranks than KV heads several ranks hold the same KV head.
    """

    query: Range
    key_value: Range


def split_heads(num_heads: int, num_kv_heads: int, rank: int, world_size: int) -> HeadSplit:
    """The heads of one rank: whole groups, or a part of one where there are ranks enough to share it."""
    group = num_heads // num_kv_heads
    sharing = world_size // num_kv_heads
    if sharing <= 1:
        key_value = _split(num_kv_heads, -(-num_kv_heads // world_size), rank)
        return HeadSplit(key_value.times(group), key_value)
    head, place = divmod(rank, sharing)
    room = -(-group // sharing)
    if head >= num_kv_heads:
        return HeadSplit(Range(num_heads, 0, room), Range(num_kv_heads, 0, 1))
    within = _split(group, room, place)
    return HeadSplit(Range(head * group + within.start, within.length, room), Range(head, 1, 1))


def split_columns(columns: int, rank: int, world_size: int) -> Range:
    """The columns of a feed-forward that one rank computes."""
    room = -(-columns // world_size)
    if columns % world_size:
        room = -(-room // _TILE) * _TILE
    return _split(columns, room, rank)


def split_tokens(vocab_size: int, rank: int, world_size: int) -> Range:
    """The tokens whose embedding and logit a rank holds."""
    return _split(vocab_size, -(-vocab_size // world_size), rank)


def _split(count: int, room: int, rank: int) -> Range:
    start = min(rank * room, count)
    return Range(start, min(room, count - start), room)
