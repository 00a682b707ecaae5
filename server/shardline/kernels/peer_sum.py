"""The sum over ranks of a product's rows, with the residual addition and the next norm in one launch.

Every rank writes its rows into the memory of all others and adds up what the others wrote into its own:
one way over the link, where NCCL's kernel, the addition and the norm take three launches. More rows are
left to NCCL where that was measured to be faster. Rows are summed in the order of ranks, so all ranks get
the same bits. Chained, the product that follows loads its first weights while a sum waits for the others.

A row travels in words of 8 bytes: two elements, and the number of the sum. A word arrives whole, so one
that has the right number has the right elements, and nothing else has to be waited for (NCCL's
low-latency protocol does the same). A program handles one row and counts its sums; each sum uses the half
of the memory that the last one did not. A rank can begin the sum after next, which writes over a row, only
when all others have begun the next one, and then they have read it.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch
import triton
import triton.language as tl

from shardline.dist.group import ParallelGroup
from shardline.dist.peers import PeerMemory
from shardline.kernels.chaining import Chain, launch_options, wait_for_previous
from shardline.kernels.rms_norm import rms_norm

MOST_ROWS = 512
_HALVES = 2
_ELEMENTS_A_WORD = 2
_WORD_BYTES = 8
# Chained sums of longer rows, with other tiles of the products beside them, made a step of the 70b shape take 28 ms in
# place of 24; which of the two did it is not known.
_MOST_CHAINED_ELEMENTS = 4096
_SUMS = 16
_ROUNDS = 5


@triton.jit
def _elements(pairs, ELEMENT: tl.constexpr):
    """The first and the second elements of pairs: i32 each, f32."""
    first = pairs.to(tl.int16).to(ELEMENT, bitcast=True)
    second = (pairs >> 16).to(tl.int16).to(ELEMENT, bitcast=True)
    return first.to(tl.float32), second.to(tl.float32)


@triton.jit
def _pairs(first, second, ELEMENT: tl.constexpr):
    """The reverse of `_elements`, rounded, and what the elements have become: f32."""
    first = first.to(ELEMENT)
    second = second.to(ELEMENT)
    low = first.to(tl.int16, bitcast=True).to(tl.int32) & 0xFFFF
    high = second.to(tl.int16, bitcast=True).to(tl.int32) << 16
    return high | low, first.to(tl.float32), second.to(tl.float32)


@triton.jit
def _peer_sum_kernel(
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
    wait_for_previous(CHAIN)
    pair = tl.arange(0, BLOCK)
    inside = pair < PAIRS
    ELEMENT: tl.constexpr = partial.dtype.element_ty
    pairs = tl.pointer_type(tl.int32)
    words = tl.pointer_type(tl.int64)
    at = row * PAIRS + pair
    count = tl.load(counts + row) + 1
    number = count.to(tl.int64) << 32
    half = (count & 1) * WORLD
    mine = tl.load(partial.to(pairs) + at, mask=inside, other=0)
    sent = number | (mine.to(tl.int64) & 0xFFFFFFFF)
    for peer in tl.static_range(WORLD):
        if peer != RANK:
            theirs = tl.load(addresses + peer).to(words) + ((half + RANK) * MOST + row).to(tl.int64) * PAIRS
            tl.store(theirs + pair, sent, mask=inside)
    own = tl.load(addresses + RANK).to(words)
    first = tl.zeros((BLOCK,), tl.float32)
    second = tl.zeros((BLOCK,), tl.float32)
    for peer in tl.static_range(WORLD):
        if peer == RANK:
            one, two = _elements(mine, ELEMENT)
        else:
            place = own + ((half + peer) * MOST + row).to(tl.int64) * PAIRS + pair
            got = tl.load(place, mask=inside, other=number, volatile=True)
            while tl.max(((got >> 32) != count).to(tl.int32), 0) > 0:
                got = tl.load(place, mask=inside, other=number, volatile=True)
            one, two = _elements(got.to(tl.int32), ELEMENT)
        first += one
        second += two
    if ADD:
        one, two = _elements(tl.load(residual.to(pairs) + at, mask=inside, other=0), ELEMENT)
        first += one
        second += two
    total, first, second = _pairs(first, second, ELEMENT)
    tl.store(residual.to(pairs) + at, total, mask=inside)
    if NORM:
        scale = tl.rsqrt(tl.sum(first * first + second * second, 0) / (2 * PAIRS) + eps)
        one, two = _elements(tl.load(gamma.to(pairs) + pair, mask=inside, other=0), ELEMENT)
        scaled, _, _ = _pairs(first * scale * one, second * scale * two, ELEMENT)
        tl.store(normed.to(pairs) + at, scaled, mask=inside)
    tl.store(counts + row, count)


class PeerSums:
    """Sums over ranks by `_peer_sum_kernel`. Calls go to torch's current stream and can be captured.

    All ranks make the same calls in the same order.
    """

    def __init__(self, memory: PeerMemory, rank: int, hidden: int) -> None:
        self._memory = memory
        self._rank = rank
        self._world_size = memory.addresses.shape[0]
        self._hidden = hidden
        self._counts = torch.zeros(MOST_ROWS, dtype=torch.int32, device=memory.addresses.device)
        self.most_rows = MOST_ROWS

    @classmethod
    def open(
        cls, group: ParallelGroup, hidden: int, dtype: torch.dtype, device: torch.device
    ) -> PeerSums | None:
        """For rows of `hidden` elements; none where GPUs do not reach each other, or for types that are not of
        two bytes. Every rank has to call it.
        """
        if hidden % _ELEMENTS_A_WORD or dtype.itemsize * _ELEMENTS_A_WORD * 2 != _WORD_BYTES:
            return None
        memory = group.peer_memory(memory_bytes(hidden, group.world_size), device)
        return None if memory is None else cls(memory, group.rank, hidden)

    def __call__(
        self,
        partial: torch.Tensor,
        residual: torch.Tensor | None,
        gamma: torch.Tensor | None = None,
        eps: float = 0.0,
        chained: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The residual stream, and its norm.

        partial:   [rows, hidden], contiguous; up to `most_rows` rows
        residual:  [rows, hidden], which becomes residual + the sum of all ranks' partials; none: the sum
                   alone takes the place of `partial`
        gamma:     [hidden] of the norm; none: there is none
        chained:   whether the kernels before and after are (see `chaining`); sums of short rows join them
        """
        rows, hidden = partial.shape
        values = partial if residual is None else residual
        normed = None if gamma is None else torch.empty_like(partial)
        # Waiting takes no more of the card than a program a row: whoever comes next may have the rest.
        chain = Chain.EARLY if chained and hidden <= _MOST_CHAINED_ELEMENTS else Chain.OFF
        _peer_sum_kernel[(rows,)](
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
            PAIRS=hidden // _ELEMENTS_A_WORD,
            BLOCK=triton.next_power_of_2(hidden // _ELEMENTS_A_WORD),
            ADD=residual is not None,
            NORM=gamma is not None,
            CHAIN=int(chain),
            num_warps=8 if hidden >= 2048 else 4 if hidden >= 512 else 1,
            **launch_options(chain),
        )
        return values, normed

    def compile(self, dtype: torch.dtype, chained: bool) -> None:
        """Compiles and runs all variants; `chained`: those too. Every rank has to call it.

        Later launches must not be skipped on one rank alone, as those of unknown kernels are at a first start.
        """
        partial = torch.zeros((1, self._hidden), dtype=dtype, device=self._counts.device)
        for chain in {False, chained}:
            for residual in (None, torch.zeros_like(partial)):
                self(partial, residual, partial[0].clone(), 1e-6, chain)
        torch.cuda.synchronize(self._counts.device)

    def limit_by_time(self, group: ParallelGroup, dtype: torch.dtype) -> None:
        """Measures up to how many rows a sum takes less time than NCCL's, each with addition and norm.

        Every rank has to call it.
        """
        rows = 1
        while rows <= MOST_ROWS and self._is_faster(rows, group, dtype):
            rows *= 2
        self.most_rows = rows // 2

    def _is_faster(self, rows: int, group: ParallelGroup, dtype: torch.dtype) -> bool:
        """On all ranks."""
        device = self._counts.device
        partial = torch.zeros((rows, self._hidden), dtype=dtype, device=device)
        stream, gamma = torch.zeros_like(partial), partial[0].clone()

        def ours() -> None:
            self(partial, stream, gamma, 1e-6)

        def others() -> None:
            total = group.sum(partial)
            rms_norm(stream, gamma, 1e-6, total, delta=total)

        slower_us = time_us(ours, device) - time_us(others, device)
        return bool(group.minimum(int(slower_us <= 0), device))


def memory_bytes(hidden: int, world_size: int) -> int:
    """What a rank's memory has to hold: two halves of rows from each rank."""
    return _HALVES * world_size * MOST_ROWS * (hidden // _ELEMENTS_A_WORD) * _WORD_BYTES


def time_us(work: Callable[[], object], device: torch.device) -> float:
    """Microseconds of one call, from a captured graph of some."""
    work()
    torch.cuda.synchronize(device)
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream(device)
    with torch.cuda.stream(stream):
        graph.capture_begin(capture_error_mode="thread_local")
        try:
            for _ in range(_SUMS):
                work()
        finally:
            graph.capture_end()
    torch.cuda.current_stream(device).wait_stream(stream)
    times = []
    for _ in range(_ROUNDS):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / _SUMS * 1e3)
    return statistics.median(times)
