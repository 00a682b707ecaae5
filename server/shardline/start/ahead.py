"""When the work is done that is left when a shard is ready: products to measure, sizes to capture.

A shard that holds its model alone does it in idle moments, and under load now and then between two steps.
Ranks that hold one together have to capture at the same places, and neither an idle moment nor a clock
is the same for them. The steps are: they come in one order to all. So ranks capture by the count of steps
alone, and idle moments are for what each does for itself.
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


class AheadAlone:
    """Of a shard that holds its model alone."""

    def __init__(self, products: Products, graphs: Ahead, clock: Callable[[], float] = perf_counter) -> None:
        self._products = products
        self._graphs = graphs
        self._clock = clock
        self._last = clock()
        self._told = _Told()

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


class AheadOfRanks:
    """Of one of several ranks; each is asked after the same steps as all others."""

    def __init__(self, products: Products, graphs: Ahead) -> None:
        self._products = products
        self._graphs = graphs
        self._steps = 0
        self._told = _Told()

    def work_ahead(self) -> bool:
        """A product to measure, which takes this rank alone."""
        return self._products.work_ahead()

    def work_between(self) -> bool:
        """A size to run or to capture, after every so many steps.

        Also to run: there are no other moments for it.
        """
        self._steps += 1
        return self._steps % STEPS_BETWEEN != 0 or self._told(self._graphs.work_ahead())
