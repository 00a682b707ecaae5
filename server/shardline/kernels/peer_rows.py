"""A sum over ranks of more rows: rows arrive as they are, and a flag of each tells that it is there.

A program writes its row into the memory of all others, then, once all of its threads have, the number of
the sum behind it, ordered for the whole system (release). It waits for the flags of the same row from the
others (acquire) and adds up what lies there. A flag costs another way over the link, elements half of what
they cost as words (see `peer_words`, where the halves of the memory and the order of sums are told).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from shardline.dist.peers import PeerMemory
from shardline.kernels.peer_elements import ELEMENT_BYTES, ELEMENTS_A_PAIR, elements, finish_row, row_pairs

_HALVES = 2
_FLAG_BYTES = 4
_ROWS_OF_ALL = 2048


@triton.jit
def _peer_rows_kernel(
    partial,  # [rows, 2 * PAIRS]
    residual,  # [rows, 2 * PAIRS], becomes the sum
    gamma,  # [2 * PAIRS]; read where NORM
    normed,  # [rows, 2 * PAIRS]; written where NORM
    addresses,  # i64[WORLD]: of each rank's memory, pairs[2, WORLD, MOST, PAIRS], then flags[2, WORLD, MOST]
    counts,  # i32[MOST]: sums of each row so far
    eps,
    RANK: tl.constexpr,
    WORLD: tl.constexpr,
    MOST: tl.constexpr,
    PAIRS: tl.constexpr,
    BLOCK: tl.constexpr,
    ADD: tl.constexpr,
    NORM: tl.constexpr,
):
    row = tl.program_id(0)
    pair = tl.arange(0, BLOCK)
    inside = pair < PAIRS
    ELEMENT: tl.constexpr = partial.dtype.element_ty
    FLAGS: tl.constexpr = 2 * WORLD * MOST * PAIRS
    pairs = tl.pointer_type(tl.int32)
    count = tl.load(counts + row) + 1
    half = (count & 1) * WORLD
    mine = row_pairs(partial, row, PAIRS, BLOCK)
    # What does not come over the link is there before it is needed.
    before = row_pairs(residual, row, PAIRS, BLOCK)
    weight = row_pairs(gamma, 0, PAIRS, BLOCK)
    sent = (half + RANK) * MOST + row
    for peer in tl.static_range(WORLD):
        if peer != RANK:
            theirs = tl.multiple_of(tl.load(addresses + peer).to(pairs), 16)
            tl.store(theirs + sent.to(tl.int64) * PAIRS + pair, mine, mask=inside)
    # The flag is one thread's: it may follow only when all others have written.
    tl.debug_barrier()
    for peer in tl.static_range(WORLD):
        if peer != RANK:
            flags = tl.load(addresses + peer).to(pairs) + FLAGS
            tl.atomic_xchg(flags + sent, count, sem="release", scope="sys")
    own = tl.multiple_of(tl.load(addresses + RANK).to(pairs), 16)
    first = tl.zeros((BLOCK,), tl.float32)
    second = tl.zeros((BLOCK,), tl.float32)
    for peer in tl.static_range(WORLD):
        if peer == RANK:
            one, two = elements(mine, ELEMENT)
        else:
            got = (half + peer) * MOST + row
            seen = tl.atomic_add(own + FLAGS + got, 0, sem="acquire", scope="sys")
            while seen != count:
                seen = tl.atomic_add(own + FLAGS + got, 0, sem="acquire", scope="sys")
            place = own + got.to(tl.int64) * PAIRS + pair
            one, two = elements(tl.load(place, mask=inside, other=0, volatile=True), ELEMENT)
        first += one
        second += two
    finish_row(first, second, before, weight, residual, normed, row, eps, PAIRS, BLOCK, ADD, NORM)
    tl.store(counts + row, count)


class PeerRows:
    """Sums of any number of rows, `most_rows(world_size)` at a time. Calls go to torch's current stream and can
    be captured.

    All ranks make the same calls in the same order.
    """

    def __init__(self, memory: PeerMemory, rank: int) -> None:
        self._memory = memory
        self._rank = rank
        self._world_size = memory.addresses.shape[0]
        self._most = self.most_rows(self._world_size)
        self._counts = torch.zeros(self._most, dtype=torch.int32, device=memory.addresses.device)

    @staticmethod
    def most_rows(world_size: int) -> int:
        """Every rank writes whole rows to all others: the more there are, the sooner NCCL's ways are faster."""
        return _ROWS_OF_ALL // world_size

    @classmethod
    def memory_bytes(cls, hidden: int, world_size: int) -> int:
        """What a rank's memory has to hold: two halves of rows from each rank, and their flags."""
        rows = _HALVES * world_size * cls.most_rows(world_size)
        return rows * (hidden * ELEMENT_BYTES + _FLAG_BYTES)

    def __call__(
        self,
        partial: torch.Tensor,
        values: torch.Tensor,
        gamma: torch.Tensor | None,
        normed: torch.Tensor | None,
        eps: float,
    ) -> None:
        """As `PeerWords`, of more rows; nothing is chained."""
        rows, hidden = partial.shape
        add = values is not partial
        for start in range(0, rows, self._most):
            part = slice(start, min(start + self._most, rows))
            _peer_rows_kernel[(part.stop - start,)](
                partial[part],
                values[part],
                partial if gamma is None else gamma,
                partial if normed is None else normed[part],
                self._memory.addresses,
                self._counts,
                eps,
                RANK=self._rank,
                WORLD=self._world_size,
                MOST=self._most,
                PAIRS=hidden // ELEMENTS_A_PAIR,
                BLOCK=triton.next_power_of_2(hidden // ELEMENTS_A_PAIR),
                ADD=add,
                NORM=gamma is not None,
                num_warps=8 if hidden >= 4096 else 4 if hidden >= 512 else 1,
            )
