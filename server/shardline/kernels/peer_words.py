"""A sum over ranks of few rows: every element arrives with the number of its sum.

A row travels in words of 8 bytes: two elements, and the number of the sum. A word arrives whole, so one
that has the right number has the right elements, and nothing else has to be waited for (NCCL's
low-latency protocol does the same): one way over the link, with twice the bytes.

A program handles one row and counts its sums; each sum uses the half of the memory that the last one did
not. A rank can begin the sum after next, which writes over a row, only when all others have begun the
next one, and then they have read it. Rows are summed in the order of ranks, so all ranks get the same bits.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from shardline.dist.peers import PeerMemory
from shardline.kernels.chaining import Chain, launch_options, wait_for_previous
from shardline.kernels.peer_elements import ELEMENTS_A_PAIR, elements, finish_row, row_pairs

MOST_ROWS = 256
_HALVES = 2
_WORD_BYTES = 8


@triton.jit
def _peer_words_kernel(
    partial,  # [rows, 2 * PAIRS]
    residual,  # [rows, 2 * PAIRS], becomes the sum
    gamma,  # [2 * PAIRS]; read where NORM
    normed,  # [rows, 2 * PAIRS]; written where NORM
    addresses,  # i64[WORLD]: of each rank's memory, words[2, WORLD, MOST, PAIRS]
    counts,  # i32[MOST]: sums of each row so far
    eps,
    RANK: tl.constexpr,
    WORLD: tl.constexpr,
    MOST: tl.constexpr,
    PAIRS: tl.constexpr,
    BLOCK: tl.constexpr,
    ADD: tl.constexpr,
    NORM: tl.constexpr,
    CHAIN: tl.constexpr,
):
    row = tl.program_id(0)
    pair = tl.arange(0, BLOCK)
    inside = pair < PAIRS
    # What does not come over the link is there before it is needed.
    weight = row_pairs(gamma, 0, PAIRS, BLOCK)
    wait_for_previous(CHAIN)
    ELEMENT: tl.constexpr = partial.dtype.element_ty
    words = tl.pointer_type(tl.int64)
    count = tl.load(counts + row) + 1
    number = count.to(tl.int64) << 32
    half = (count & 1) * WORLD
    mine = row_pairs(partial, row, PAIRS, BLOCK)
    before = row_pairs(residual, row, PAIRS, BLOCK)
    sent = number | (mine.to(tl.int64) & 0xFFFFFFFF)
    for peer in tl.static_range(WORLD):
        if peer != RANK:
            theirs = tl.multiple_of(tl.load(addresses + peer).to(words), 16)
            tl.store(theirs + ((half + RANK) * MOST + row).to(tl.int64) * PAIRS + pair, sent, mask=inside)
    own = tl.multiple_of(tl.load(addresses + RANK).to(words), 16)
    first = tl.zeros((BLOCK,), tl.float32)
    second = tl.zeros((BLOCK,), tl.float32)
    for peer in tl.static_range(WORLD):
        if peer == RANK:
            one, two = elements(mine, ELEMENT)
        else:
            place = own + ((half + peer) * MOST + row).to(tl.int64) * PAIRS + pair
            got = tl.load(place, mask=inside, other=number, volatile=True)
            while tl.max(((got >> 32) != count).to(tl.int32), 0) > 0:
                got = tl.load(place, mask=inside, other=number, volatile=True)
            one, two = elements(got.to(tl.int32), ELEMENT)
        first += one
        second += two
    finish_row(first, second, before, weight, residual, normed, row, eps, PAIRS, BLOCK, ADD, NORM)
    tl.store(counts + row, count)


class PeerWords:
    """Sums of up to `MOST_ROWS` rows. Calls go to torch's current stream and can be captured.

    All ranks make the same calls in the same order.
    """

    def __init__(self, memory: PeerMemory, rank: int) -> None:
        self._memory = memory
        self._rank = rank
        self._world_size = memory.addresses.shape[0]
        self._counts = torch.zeros(MOST_ROWS, dtype=torch.int32, device=memory.addresses.device)

    @staticmethod
    def memory_bytes(hidden: int, world_size: int) -> int:
        """What a rank's memory has to hold: two halves of rows from each rank."""
        return _HALVES * world_size * MOST_ROWS * (hidden // ELEMENTS_A_PAIR) * _WORD_BYTES

    def __call__(
        self,
        partial: torch.Tensor,
        values: torch.Tensor,
        gamma: torch.Tensor | None,
        normed: torch.Tensor | None,
        eps: float,
        chained: bool = False,
    ) -> None:
        """values += the sum of all ranks' partials, and its norm.

        partial:   [rows, hidden], contiguous; up to `MOST_ROWS` rows
        values:    [rows, hidden]; `partial` itself: becomes the sum alone
        gamma, normed:  [hidden] and [rows, hidden] of the norm; none: there is none
        chained:   whether the kernels before and after are (see `chaining`)
        """
        rows, hidden = partial.shape
        # Waiting takes no more of the card than a program a row: whoever comes next may have the rest.
        chain = Chain.EARLY if chained else Chain.OFF
        _peer_words_kernel[(rows,)](
            partial,
            values,
            partial if gamma is None else gamma,
            partial if normed is None else normed,
            self._memory.addresses,
            self._counts,
            eps,
            RANK=self._rank,
            WORLD=self._world_size,
            MOST=MOST_ROWS,
            PAIRS=hidden // ELEMENTS_A_PAIR,
            BLOCK=triton.next_power_of_2(hidden // ELEMENTS_A_PAIR),
            ADD=values is not partial,
            NORM=gamma is not None,
            CHAIN=int(chain),
            num_warps=8 if hidden >= 2048 else 4 if hidden >= 512 else 1,
            **launch_options(chain),
        )
