"""When the work is done that is left when a shard is ready: products to measure, sizes to capture.

A shard that holds its model alone does it in idle moments, and under load now and then between two steps.
Ranks that hold one together have to capture at the same places among their steps: in moments that are idle for
all of them, which they find out together, and under load by the count of steps alone, since a clock is not the
same for all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import perf_counter
from typing import Protocol

from shardline.runner.runner import Ahead

# Under load, of a shard alone: from the end of one capture to the next.
BETWEEN_S = 0.03
# Of ranks: steps from one run or capture to the next. Fewer than one step in a hundred waits for one.
STEPS_BETWEEN = 128
log = logging.getLogger("shardline.start")


class Products(Protocol):
    """What is left to measure."""

    def work_ahead(self) -> bool:
        """Measures one product; false when none is left."""
        ...


class Graphs(Protocol):
    """What is left to capture; false: nothing."""

    def work_ahead(self) -> bool:
        """A run or a capture."""
        ...

    def work_between(self) -> bool:
        """A capture, while the device is busy."""
        ...


class Moments(Protocol):
    """Idle ones of all ranks (see `dist.idle`)."""

    def together(self, place: int) -> bool: ...
    def leave(self) -> bool: ...


class _Told:
    """Says once that the usual steps are captured."""

    def __init__(self) -> None:
        self._told = False

    def __call__(self, left: bool) -> bool:
        """Passes on whether a size is left."""
        if not left and not self._told:
            self._told = True
            log.info("the usual steps are captured")
        return left


class AheadAlone(Ahead):
    """Of a shard that holds its model alone."""

    def __init__(self, products: Products, graphs: Graphs, clock: Callable[[], float] = perf_counter) -> None:
        self._products = products
        self._graphs = graphs
        self._clock = clock
        self._last = clock()
        self._told = _Told()

    def before_step(self) -> None:
        """Nothing is begun that a step would have to wait for."""

    def work_ahead(self) -> bool:
        """A product to measure, then a size to run or to capture."""
        return self._products.work_ahead() or self._told(self._graphs.work_ahead())

    def work_between(self) -> bool:
        """A size to capture, when the last one is long enough ago."""
        if self._clock() - self._last < BETWEEN_S:
            return True
        left = self._told(self._graphs.work_between())
        self._last = self._clock()
        return left


class AheadOfRanks(Ahead):
    """Of one of several ranks. What is captured, and after which step, is the same on all of them."""

    def __init__(self, products: Products, graphs: Graphs, moments: Moments) -> None:
        self._products = products
        self._graphs = graphs
        self._moments = moments
        self._steps = 0
        self._left = True
        self._told = _Told()

    def before_step(self) -> None:
        """A size to run or to capture, if the other ranks do so before this step."""
        if self._moments.leave():
            self._work()
        self._steps += 1

    def work_ahead(self) -> bool:
        """A product to measure, which takes this rank alone; then a size, when all ranks are idle."""
        if self._products.work_ahead():
            return True
        if self._left and self._moments.together(self._steps):
            self._work()
        return self._left

    def work_between(self) -> bool:
        """A size to run or to capture, after every so many steps. Also to run: idle moments may never come."""
        if self._left and self._steps % STEPS_BETWEEN == 0:
            self._work()
        return self._left

    def _work(self) -> None:
        self._left = self._told(self._graphs.work_ahead())
