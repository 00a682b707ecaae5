"""The vendor's products, each by the algorithm that was fastest on this card.

cuBLAS picks by a rule. cuBLASLt offers some more algorithms, and takes tiles that it does not offer (see
`even_tiles`); all of them are timed on the model's own weights, for the numbers of rows that captured steps
have, and the fastest is kept. Other numbers of rows go by the rule.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from shardline.kernels.cublaslt import CublasLt, CublasLtError, LtAlgorithm, LtShape, Setting
from shardline.kernels.even_tiles import even_tiles

# Together more than any card's cache holds, so that each call reads its weights from memory.
_MOST_WEIGHTS = 6
_LEAST_WEIGHT_BYTES = 128 << 20
_FINALISTS = 3
_ROUNDS = 5
_EVEN_TILES = 2
# Clusters (cublasLtClusterShape_t: 1 x 1, 1 x 2) and options with which even tiles were fastest.
_EVEN_WAYS = ((2, 0), (2, 4), (5, 0), (5, 2))
# What another algorithm must save at least to be taken in place of cuBLAS's.
_LEAST_GAIN = 0.01


@dataclass(frozen=True, slots=True)
class Timing:
    """What a measurement found. Microseconds of one product."""

    shape: LtShape
    library_us: float
    best_us: float


class LibraryProducts:
    """See the module's text. `lt`: none: everything goes through torch."""

    def __init__(self, lt: CublasLt | None) -> None:
        self._lt = lt
        # Some of each shape: (columns, inner, dtype).
        self._weights: dict[tuple[int, int, torch.dtype], list[Tensor]] = {}
        self._chosen: dict[LtShape, LtAlgorithm | None] = {}

    def note(self, weight: Tensor) -> None:
        """A weight that products will have: [columns, inner]."""
        columns, inner = weight.shape
        some = self._weights.setdefault((columns, inner, weight.dtype), [])
        if len(some) < _MOST_WEIGHTS:
            some.append(weight)

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """x @ weight^T + bias: [rows, columns]."""
        lt = self._lt
        if lt is not None and bias is None:
            algorithm = self._chosen.get(LtShape(x.shape[0], weight.shape[0], weight.shape[1], x.dtype))
            if algorithm is not None and lt.takes(x, weight):
                out = x.new_empty((x.shape[0], weight.shape[0]))
                lt.run(x, weight, out, algorithm)
                return out
        return torch.nn.functional.linear(x, weight, bias)

    def unmeasured(self, rows: Iterable[int]) -> list[LtShape]:
        """The products of these numbers of rows that nothing was chosen for yet."""
        if self._lt is None:
            return []
        counts = sorted(set(rows))
        shapes = (
            LtShape(count, columns, inner, dtype)
            for columns, inner, dtype in self._weights
            for count in counts
        )
        return [shape for shape in shapes if shape not in self._chosen]

    def measure(self, shape: LtShape) -> Timing | None:
        """Times all candidates of a product and chooses; some tens of ms. None where there is no choice."""
        lt = self._lt
        weights = self._weights[(shape.columns, shape.inner, shape.dtype)]
        self._chosen[shape] = None
        usable = [weight for weight in weights if lt is not None and lt.takes(weight, weight)]
        if lt is None or not usable or sum(w.nbytes for w in usable) < _LEAST_WEIGHT_BYTES:
            return None
        x = torch.randn(shape.rows, shape.inner, device=usable[0].device).to(shape.dtype)
        out = x.new_empty((shape.rows, shape.columns))
        works: list[tuple[LtAlgorithm | None, Callable[[Tensor], None]]] = [(None, _run_cublas(x, out))]
        for algorithm in algorithms_to_try(lt, shape):
            works.append((algorithm, _run(lt, x, out, algorithm)))
        timed = _candidates(works, usable)
        if not timed or timed[0].algorithm is not None:
            return None
        library, *others = timed
        first = sorted(others, key=lambda one: one.once_us())[:_FINALISTS]
        library_us, *finals = _medians([library, *first])
        best_us, best = min(zip(finals, first, strict=True), key=lambda pair: pair[0], default=(0.0, None))
        if best is None or best_us > library_us * (1 - _LEAST_GAIN):
            return Timing(shape, library_us, library_us)
        self._chosen[shape] = best.algorithm
        return Timing(shape, library_us, best_us)

    def record(self) -> list[dict[str, object]]:
        """What was chosen, for `restore` at a later start; plain values."""
        return [
            {
                "rows": shape.rows,
                "columns": shape.columns,
                "inner": shape.inner,
                "dtype": str(shape.dtype).removeprefix("torch."),
                "algorithm": None if algorithm is None else algorithm.data.hex(),
            }
            for shape, algorithm in self._chosen.items()
        ]

    def restore(self, record: object) -> int:
        """Takes over what an earlier start chose and the library still runs; returns how many."""
        if self._lt is None or not isinstance(record, list):
            return 0
        restored = 0
        for entry in record:
            choice = _parse(entry)
            if choice is None:
                continue
            shape, algorithm = choice
            if algorithm is None or self._lt.runs(shape, algorithm):
                self._chosen[shape] = algorithm
                restored += 1
        return restored

    @property
    def version(self) -> int:
        """Of the library: algorithms of another one mean nothing. 0: there is none."""
        return 0 if self._lt is None else self._lt.version


def algorithms_to_try(lt: CublasLt, shape: LtShape) -> list[LtAlgorithm]:
    """What may be fastest: the library's offers, the one that it would take first, and even tiles."""
    offers = lt.algorithms(shape)
    tiles = even_tiles(shape.columns, shape.rows, lt.multiprocessors)[:_EVEN_TILES]
    whole = {Setting.SPLITS: 1, Setting.REDUCTION: 0, Setting.SWIZZLE: 0}
    changed = (
        lt.changed(offer, {**whole, Setting.TILE: tile.id, Setting.CLUSTER: cluster, Setting.OPTION: option})
        for offer in offers[:1]
        for tile in tiles
        for cluster, option in _EVEN_WAYS
    )
    even = [one for one in changed if one is not None and one not in offers and lt.runs(shape, one)]
    return offers + even


def _run_cublas(x: Tensor, out: Tensor) -> Callable[[Tensor], None]:
    def work(weight: Tensor) -> None:
        torch.mm(x, weight.t(), out=out)

    return work


def _run(lt: CublasLt, x: Tensor, out: Tensor, algorithm: LtAlgorithm) -> Callable[[Tensor], None]:
    return lambda weight: lt.run(x, weight, out, algorithm)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """One way to compute a product, captured over all weights. `algorithm`: none: cuBLAS's own."""

    algorithm: LtAlgorithm | None
    graph: torch.cuda.CUDAGraph
    products: int

    def once_us(self) -> float:
        """Microseconds of one product, from one replay after another one."""
        self.graph.replay()
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        self.graph.replay()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / self.products * 1e3


def _candidates(
    works: Sequence[tuple[LtAlgorithm | None, Callable[[Tensor], None]]], weights: Sequence[Tensor]
) -> list[_Candidate]:
    """All that can run, in order."""
    found = []
    stream = torch.cuda.Stream(weights[0].device)
    for algorithm, work in works:
        try:
            work(weights[0])
        except CublasLtError:
            continue
        graph = torch.cuda.CUDAGraph()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            graph.capture_begin(capture_error_mode="thread_local")
            try:
                for weight in weights:
                    work(weight)
            finally:
                graph.capture_end()
        torch.cuda.current_stream().wait_stream(stream)
        found.append(_Candidate(algorithm, graph, len(weights)))
    return found


def _medians(candidates: Sequence[_Candidate]) -> list[float]:
    """Microseconds of one product of each, in turns so that all see the same clock rate."""
    rounds = [[candidate.once_us() for candidate in candidates] for _ in range(_ROUNDS)]
    return [statistics.median(times) for times in zip(*rounds, strict=True)]


def _parse(entry: object) -> tuple[LtShape, LtAlgorithm | None] | None:
    """One entry of a record; none when it is not one of ours."""
    if not isinstance(entry, dict):
        return None
    sizes = [entry.get(name) for name in ("rows", "columns", "inner")]
    dtype = {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(str(entry.get("dtype")))
    data = entry.get("algorithm")
    if dtype is None or not all(isinstance(size, int) and size > 0 for size in sizes):
        return None
    shape = LtShape(*sizes, dtype)  # type: ignore[arg-type]
    if data is None:
        return shape, None
    try:
        return shape, LtAlgorithm(bytes.fromhex(str(data)))
    except ValueError:
        return None
