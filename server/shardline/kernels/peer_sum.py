"""The sum over ranks of a product's rows, with the residual addition and the next norm in one launch.

Every rank writes its rows into the memory of all others and adds up what the others wrote into its own,
where NCCL's kernel, the addition and the norm take three launches. There are two ways to tell what has
arrived, for few rows and for more; which is the fastest for how many rows is measured at the first start,
and sums that do not equal NCCL's there are left to NCCL.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch

from shardline.dist.group import ParallelGroup
from shardline.kernels import peer_words
from shardline.kernels.peer_elements import ELEMENT_BYTES, ELEMENTS_A_PAIR
from shardline.kernels.peer_rows import PeerRows
from shardline.kernels.peer_words import PeerWords
from shardline.kernels.rms_norm import rms_norm

_SUMS = 16
_ROUNDS = 5
_CHECKS = 16
_CHECKED_SUMS = 4
_LARGEST = 8
_MOST_ROWS = 4096


@dataclass(frozen=True, slots=True)
class SumLimits:
    """Sums of up to `words` rows go by `PeerWords`, of more up to `rows` by `PeerRows`, the rest by NCCL."""

    words: int
    rows: int

    @property
    def most(self) -> int:
        """Sums of more rows are NCCL's."""
        return max(self.words, self.rows)


class PeerSums:
    """Calls go to torch's current stream and can be captured. All ranks make the same ones in the same order."""

    def __init__(self, words: PeerWords, rows: PeerRows, limits: SumLimits, device: torch.device) -> None:
        self._words = words
        self._rows = rows
        self._device = device
        self.limits = limits

    @classmethod
    def open(
        cls, group: ParallelGroup, hidden: int, dtype: torch.dtype, device: torch.device
    ) -> PeerSums | None:
        """For rows of `hidden` elements; none where GPUs do not reach each other, or for types that are not of
        two bytes. Every rank has to call it.
        """
        if hidden % ELEMENTS_A_PAIR or dtype.itemsize != ELEMENT_BYTES:
            return None
        ranks = group.world_size
        words = group.peer_memory(PeerWords.memory_bytes(hidden, ranks), device)
        rows = group.peer_memory(PeerRows.memory_bytes(hidden, ranks), device)
        if words is None or rows is None:
            return None
        return cls(
            PeerWords(words, group.rank),
            PeerRows(rows, group.rank),
            SumLimits(peer_words.MOST_ROWS, _MOST_ROWS),
            device,
        )

    def __call__(
        self,
        partial: torch.Tensor,
        residual: torch.Tensor | None,
        gamma: torch.Tensor | None = None,
        eps: float = 0.0,
        chained: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The residual stream, and its norm.

        partial:   [rows, hidden], contiguous; up to `limits.most` rows
        residual:  [rows, hidden], which becomes residual + the sum of all ranks' partials; none: the sum
                   alone takes the place of `partial`
        gamma:     [hidden] of the norm; none: there is none
        chained:   whether the kernels before and after are (see `chaining`)
        """
        values = partial if residual is None else residual
        normed = None if gamma is None else torch.empty_like(partial)
        if partial.shape[0] <= self.limits.words:
            self._words(partial, values, gamma, normed, eps, chained)
        else:
            self._rows(partial, values, gamma, normed, eps)
        return values, normed

    def compile(self, hidden: int, dtype: torch.dtype, chained: bool) -> None:
        """Compiles and runs all variants; `chained`: those too. Every rank has to call it.

        Later launches must not be skipped on one rank alone, as those of unknown kernels are at a first start.
        """
        partial = torch.zeros((1, hidden), dtype=dtype, device=self._device)
        gamma, normed = partial[0].clone(), torch.empty_like(partial)
        for values in (partial, torch.zeros_like(partial)):
            for chain in (False, True) if chained else (False,):
                self._words(partial, values, gamma, normed, 1e-6, chain)
            self._rows(partial, values, gamma, normed, 1e-6)
        torch.cuda.synchronize(self._device)

    def limit(self, group: ParallelGroup, hidden: int, dtype: torch.dtype) -> SumLimits:
        """Measures up to how many rows each way is right, and faster than the next and than NCCL's.

        Every rank has to call it; all get the same limits. Other ways are compared with addition and norm.
        """
        trial = _Trial(group, hidden, dtype, self._device)
        words = most_rows(
            self.limits.words, lambda rows: trial.is_better(rows, self._words, (self._rows, trial.others))
        )
        rows = most_rows(
            self.limits.rows, lambda rows: trial.is_better(rows, self._rows, (trial.others,)), above=words
        )
        return SumLimits(words, rows)


Sum = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, float], object]


def most_rows(most: int, is_better: Callable[[int], bool], above: int = 0) -> int:
    """The rows, a power of two, up to which a way is better; 0: it never is.

    `above`: fewer rows go another way and are not tried.
    """
    rows = 1
    while rows <= above:
        rows *= 2
    found = 0
    while rows <= most and is_better(rows):
        found, rows = rows, 2 * rows
    return found


class _Trial:
    """Sums of made-up rows, by one way and another."""

    def __init__(self, group: ParallelGroup, hidden: int, dtype: torch.dtype, device: torch.device) -> None:
        self._group = group
        self._hidden = hidden
        self._dtype = dtype
        self._device = device
        self._gamma = torch.ones(hidden, dtype=dtype, device=device)
        self._numbers = torch.Generator(device).manual_seed(group.rank)

    def others(
        self,
        partial: torch.Tensor,
        values: torch.Tensor,
        gamma: torch.Tensor,
        normed: torch.Tensor,
        eps: float,
    ) -> None:
        """NCCL's sum, the addition and the norm."""
        total = self._group.sum(partial)
        rms_norm(values, gamma, eps, normed, delta=total)

    def is_better(self, rows: int, way: Sum, others: tuple[Sum, ...]) -> bool:
        """Whether `way` is right and faster than all others, on all ranks."""
        right = self._is_right(rows, way)
        # All are measured whatever comes out: the other ranks measure them too.
        ours, *theirs = [self._us(rows, each) for each in (way, *others)]
        return self._group.agree(right and ours <= min(theirs))

    def _is_right(self, rows: int, way: Sum) -> bool:
        """Whether whole numbers, which no rounding changes, have NCCL's sums, some sums in a row each time."""
        shape = (_CHECKED_SUMS, rows, self._hidden)
        wrong = torch.zeros((), dtype=torch.int64, device=self._device)
        normed = torch.empty(shape[1:], dtype=self._dtype, device=self._device)
        for _ in range(_CHECKS):
            drawn = torch.randint(-_LARGEST, _LARGEST, shape, generator=self._numbers, device=self._device)
            partials = drawn.to(self._dtype)
            found = torch.zeros_like(partials)
            for partial, values in zip(partials, found, strict=True):
                way(partial, values, self._gamma, normed, 1e-6)
            wrong += (found != self._group.sum(partials)).sum()
        return not int(wrong)

    def _us(self, rows: int, way: Sum) -> float:
        shape = (rows, self._hidden)
        partial, values, normed = (
            torch.zeros(shape, dtype=self._dtype, device=self._device) for _ in range(3)
        )
        return time_us(lambda: way(partial, values, self._gamma, normed, 1e-6), self._device)


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
