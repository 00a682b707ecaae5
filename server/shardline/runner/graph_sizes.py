"""To which sizes steps are padded, so that few captured graphs serve all of them.

Decode steps are cheap to capture and frequent: many sizes, at which the library's products take no longer
than at any smaller one close by (88 rows, for example, and not 80; 104 and not 96 or 112). Mixed steps vary
in tokens, rows and how many rows bring more than one token; they are padded to the edges at which a GPU's
products jump in cost, where padding is free.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise, zip_longest

import numpy as np

from shardline.runner.batch import StepPlan
from shardline.runner.inputs import Padding

_DECODE_ROWS = (
    *(1, 2, 4, 8, 16, 24, 32, 40, 48, 56, 64, 88, 104, 128, 144, 160, 176, 192, 208, 232, 256),
    *(320, 384, 448, 512, 640, 768, 896, 1024),
)
_MIXED_TOKENS = (
    *(16, 32, 64, 96, 128, 160, 192, 256, 320, 384, 512, 640, 768, 896, 1024, 1280, 1536, 1792),
    *(2048, 2560, 3072, 4096, 5120, 6144, 8192),
)
_MIXED_ROWS = (8, 16, 32, 64, 128, 256, 512, 1024)
_CHUNK_ROWS = (8, 32, 128, 512, 1024)
_KINDS_OF_ROWS = (1, 2, 8, 16, 32, 64, 128, 256)
_KINDS_OF_MIXED = (
    *((8, 16), (8, 32), (8, 128), (8, 256), (8, 512), (16, 64), (32, 64), (32, 256), (32, 512)),
    *((64, 128), (64, 256), (128, 128), (128, 256), (128, 512), (128, 640), (256, 512), (256, 768)),
)
# Beside decode rows, up to so many of them and so many tokens of prompts are met often.
_USUAL_ROWS = 256
_USUAL_PROMPT_TOKENS = 512


@dataclass(frozen=True, slots=True)
class GraphSize:
    """Rows and tokens of a captured step; `chunk_rows`: most rows of more than one token.

    Zero chunk rows: a decode step, in which every row brings one token and samples. `uneven`: attention is
    launched for a row that is far longer than the others, which costs the others a little.
    """

    rows: int
    tokens: int
    chunk_rows: int
    uneven: bool = False

    @property
    def is_decode(self) -> bool:
        """Whether every token is a row's only one and is sampled from."""
        return self.chunk_rows == 0

    @property
    def padding(self) -> Padding:
        """What the step's inputs are padded to."""
        return Padding(rows=self.rows, tokens=self.tokens)


@dataclass(frozen=True, slots=True)
class GraphSizes:
    """The sizes for a batch.

    `max_rows`: most sequences. `most_tokens`: mixed steps of more tokens are not captured, since the
    GPU needs longer for them than the host to launch them. `decode_rows`: ascending.
    """

    max_rows: int
    most_tokens: int
    decode_rows: tuple[int, ...] = _DECODE_ROWS

    def of(self, plan: StepPlan) -> GraphSize | None:
        """The smallest size that holds the step; none: run it as it is."""
        rows = len(plan.slots)
        if bool((plan.num_tokens == 1).all()) and bool(plan.samples.all()):
            padded = _round_up(rows, self.decode_rows, self.max_rows)
            return None if padded is None else GraphSize(padded, padded, 0, plan.uneven)
        tokens = int(plan.num_tokens.sum())
        chunks = int(np.count_nonzero(plan.num_tokens > 1))
        padded_tokens = _round_up(tokens, _MIXED_TOKENS, self.most_tokens)
        padded_rows = _round_up(rows, _MIXED_ROWS, self.max_rows)
        if padded_tokens is None or padded_rows is None:
            return None
        chunk_rows = _round_up(max(chunks, 1), _CHUNK_ROWS, padded_rows)
        return GraphSize(padded_rows, padded_tokens, chunk_rows or padded_rows, plan.uneven)

    def representatives(self) -> tuple[GraphSize, ...]:
        """Sizes whose steps use every kernel that any step uses.

        The largest first: the memory of a large graph serves the smaller ones.
        """
        decode = {self._decode(rows) for rows in (*_KINDS_OF_ROWS, self.max_rows) if rows <= self.max_rows}
        mixed = {
            GraphSize(_round_up(rows, _MIXED_ROWS, self.max_rows) or self.max_rows, tokens, 8)
            for rows, tokens in _KINDS_OF_MIXED
            if rows <= self.max_rows and tokens <= self.most_tokens
        }
        order = sorted(decode, key=lambda size: -size.tokens)
        return (*sorted(mixed, key=lambda size: -size.tokens), *order)

    def by_likelihood(self) -> tuple[GraphSize, ...]:
        """All usual sizes: few rows first, decode and mixed steps in turns."""
        decode = sorted(self.decode_sizes(), key=lambda size: size.rows)
        mixed = sorted(self.usual_mixed_sizes(), key=lambda size: (size.rows, size.tokens))
        turns = zip_longest(decode, mixed)
        return tuple(size for turn in turns for size in turn if size is not None)

    def largest(self) -> tuple[GraphSize, ...]:
        """The size of most tokens and the one of most sampled rows: no other needs more memory."""
        rows = min(self.max_rows, self.most_tokens)
        return GraphSize(rows, self.most_tokens, rows), self._decode(self.max_rows)

    def row_counts(self) -> tuple[int, ...]:
        """Numbers of rows that products of captured steps have, ascending."""
        decode = {size.tokens for size in self.decode_sizes()}
        mixed = _up_to(self.most_tokens, _MIXED_TOKENS)
        sampled = _up_to(self.max_rows, _MIXED_ROWS)
        return tuple(sorted(decode.union(mixed, sampled)))

    def decode_sizes(self) -> tuple[GraphSize, ...]:
        """All decode sizes, the largest first."""
        sizes = {self._decode(min(rows, self.max_rows)) for rows in self.decode_rows}
        return tuple(sorted(sizes, key=lambda size: -size.tokens))

    def usual_mixed_sizes(self) -> frozenset[GraphSize]:
        """Those of up to 8 prompts, as long as prompts come beside up to `_USUAL_ROWS` decode rows.

        A step of a size that is not captured waits for its launch, and the next one for a capture: 50 streams whose
        sizes were met for the first time gave 5 % fewer tokens in six seconds.
        """
        found: set[GraphSize] = set()
        edges = _up_to(self.most_tokens, _MIXED_TOKENS)
        for fewer, rows in pairwise((0, *_up_to(self.max_rows, _MIXED_ROWS))):
            if rows > _USUAL_ROWS:
                break
            # Of more rows than `fewer`, one of which brings two tokens at least.
            most = edges[bisect_left(edges, min(rows - 1 + _USUAL_PROMPT_TOKENS, self.most_tokens))]
            usual = (tokens for tokens in edges if fewer + 2 <= tokens <= most)
            found.update(GraphSize(rows, tokens, min(_CHUNK_ROWS[0], rows)) for tokens in usual)
        return frozenset(found)

    def _decode(self, rows: int) -> GraphSize:
        padded = _round_up(rows, self.decode_rows, self.max_rows) or self.max_rows
        return GraphSize(padded, padded, 0)


def _up_to(limit: int, edges: tuple[int, ...]) -> tuple[int, ...]:
    """What `_round_up` gives for values up to the limit, ascending."""
    return (*(edge for edge in edges if edge < limit), limit)


def _round_up(value: int, edges: tuple[int, ...], limit: int) -> int | None:
    """The first edge from `value` on, at most `limit`; none when `value` is above the limit."""
    if value > limit:
        return None
    at = bisect_left(edges, value)
    return limit if at == len(edges) else min(edges[at], limit)
