"""The sum over ranks of a product's rows, with the residual addition and the next norm in one launch.

Every rank puts its rows where all others can read them, tells them so, waits for their word, and adds up
what all ranks have: one round, where NCCL takes several and a kernel of their own for addition and norm.
More rows are left to NCCL where that was measured to be faster. Rows are summed in the order of ranks,
so all ranks get the same bits.

A program handles one row. It counts its sums, and each one uses the half of the memory that the last one
did not: a rank can begin the sum after next, which writes over a row, only when all others have begun the
next, and then they have read it. Counts only grow, so nothing has to be reset.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch
import triton
import triton.language as tl

from shardline.dist.group import ParallelGroup
from shardline.dist.peers import PeerMemory
from shardline.kernels.rms_norm import rms_norm

MOST_ROWS = 512
_HALVES = 2
_FLAG_BYTES = 4
_SUMS = 16
_ROUNDS = 5


@triton.jit
def _peer_sum_kernel(
    partial,  # [rows, HIDDEN]
    residual,  # [rows, HIDDEN], becomes the sum
    gamma,  # [HIDDEN]; read where NORM
    normed,  # [rows, HIDDEN]; written where NORM
    addresses,  # i64[WORLD]: of each rank's memory: [2, MOST_ROWS, HIDDEN], then i32[MOST_ROWS, WORLD]
    counts,  # i32[MOST_ROWS]: sums that this rank has begun with each row
    eps,
    RANK: tl.constexpr,
    WORLD: tl.constexpr,
    MOST: tl.constexpr,
    HIDDEN: tl.constexpr,
    BLOCK: tl.constexpr,
    ADD: tl.constexpr,
    NORM: tl.constexpr,
):
    row = tl.program_id(0)
    column = tl.arange(0, BLOCK)
    inside = column < HIDDEN
    rows = partial.dtype
    flags = tl.pointer_type(tl.int32)
    FLAGS: tl.constexpr = 2 * MOST * HIDDEN
    count = tl.load(counts + row) + 1
    place = ((count & 1) * MOST + row).to(tl.int64) * HIDDEN + column
    own = tl.load(addresses + RANK).to(rows)
    mine = tl.load(partial + row.to(tl.int64) * HIDDEN + column, mask=inside, other=0.0)
    tl.store(own + place, mine, mask=inside)
    tl.debug_barrier()
    for peer in tl.static_range(WORLD):
        if peer != RANK:
            told = (tl.load(addresses + peer).to(rows) + FLAGS).to(flags) + row * WORLD + RANK
            tl.atomic_xchg(told, count, sem="release", scope="sys")
    heard = (own + FLAGS).to(flags) + row * WORLD
    for peer in tl.static_range(WORLD):
        if peer != RANK:
            # A difference, so that counts may wrap around.
            while tl.atomic_add(heard + peer, 0, sem="acquire", scope="sys") - count < 0:
                pass
    tl.debug_barrier()
    total = tl.zeros((BLOCK,), tl.float32)
    for peer in tl.static_range(WORLD):
        if peer == RANK:
            total += mine.to(tl.float32)
        else:
            theirs = tl.load(addresses + peer).to(rows) + place
            total += tl.load(theirs, mask=inside, other=0.0, cache_modifier=".cg").to(tl.float32)
    at = row.to(tl.int64) * HIDDEN + column
    if ADD:
        total += tl.load(residual + at, mask=inside, other=0.0).to(tl.float32)
    rounded = total.to(residual.dtype.element_ty)
    tl.store(residual + at, rounded, mask=inside)
    if NORM:
        value = rounded.to(tl.float32)
        scale = tl.rsqrt(tl.sum(value * value, 0) / HIDDEN + eps)
        weight = tl.load(gamma + column, mask=inside, other=0.0).to(tl.float32)
        tl.store(normed + at, (value * scale * weight).to(normed.dtype.element_ty), mask=inside)
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
        """For rows of `hidden` elements; none where GPUs do not reach each other. Every rank has to call it."""
        memory = group.peer_memory(memory_bytes(hidden, dtype, group.world_size), device)
        return None if memory is None else cls(memory, group.rank, hidden)

    def __call__(
        self,
        partial: torch.Tensor,
        residual: torch.Tensor | None,
        gamma: torch.Tensor | None = None,
        eps: float = 0.0,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The residual stream, and its norm.

        partial:   [rows, hidden], contiguous; up to `most_rows` rows
        residual:  [rows, hidden], which becomes residual + the sum of all ranks' partials; none: the sum
                   alone takes the place of `partial`
        gamma:     [hidden] of the norm; none: there is none
        """
        rows, hidden = partial.shape
        values = partial if residual is None else residual
        normed = None if gamma is None else torch.empty_like(partial)
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
            HIDDEN=hidden,
            BLOCK=triton.next_power_of_2(hidden),
            ADD=residual is not None,
            NORM=gamma is not None,
            num_warps=8 if hidden >= 2048 else 4 if hidden >= 512 else 1,
        )
        return values, normed

    def limit_by_time(self, group: ParallelGroup, dtype: torch.dtype) -> None:
        """Measures up to how many rows a sum takes less time than NCCL's, each with addition and norm.

        Every rank has to call it.
        """
        device, best, rows = self._counts.device, 0, 1
        # Both variants are compiled here: later launches must not be skipped on one rank alone, as those of
        # unknown kernels are at a first start.
        first = torch.zeros((1, self._hidden), dtype=dtype, device=device)
        self(first, None, first[0].clone(), 1e-6)
        while rows <= MOST_ROWS:
            partial = torch.zeros((rows, self._hidden), dtype=dtype, device=device)
            stream, gamma = torch.zeros_like(partial), partial[0].clone()

            def ours(partial: torch.Tensor = partial, stream: torch.Tensor = stream) -> None:
                self(partial, stream, gamma, 1e-6)  # noqa: B023

            def others(partial: torch.Tensor = partial, stream: torch.Tensor = stream) -> None:
                total = group.sum(partial)
                rms_norm(stream, gamma, 1e-6, total, delta=total)  # noqa: B023

            slower_by_us = int(time_us(ours, device) - time_us(others, device))
            if not group.minimum(int(slower_by_us <= 0), device):
                break
            best, rows = rows, rows * 2
        self.most_rows = best


def memory_bytes(hidden: int, dtype: torch.dtype, world_size: int) -> int:
    """What a rank's memory has to hold: two halves of rows, and the others' counts."""
    return _HALVES * MOST_ROWS * hidden * dtype.itemsize + MOST_ROWS * world_size * _FLAG_BYTES


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
