"""The vendor's products, measured once for a card and a model; later starts read what was chosen."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from time import perf_counter

import torch

from shardline.kernels.cublaslt import LtShape
from shardline.kernels.library_products import LibraryProducts
from shardline.start.cache import StartCache

KIND = "products"
log = logging.getLogger("shardline.start")


class ProductChoices:
    """What is left to measure, and where results are kept. `facts`: on which they depend."""

    def __init__(self, products: LibraryProducts, cache: StartCache, facts: Mapping[str, object]) -> None:
        self._products = products
        self._cache = cache
        self._facts = {**facts, "cublaslt": products.version}
        self._left: list[LtShape] = []

    def restore(self, rows: Iterable[int]) -> bool:
        """Takes over an earlier start's results for products of `rows` rows; false: there were none."""
        restored = self._products.restore(self._cache.load(KIND, self._facts))
        # The fewest rows come first: most steps are small, and small products are measured fast.
        self._left = sorted(self._products.unmeasured(rows), key=lambda shape: -shape.rows)
        return restored > 0

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to measure."""
        return not self._left

    @torch.inference_mode()
    def measure_for(self, seconds: float, clock: Callable[[], float] = perf_counter) -> None:
        """Measures until the time is over; what is left then waits for `work_ahead`."""
        began = clock()
        while self._left and clock() - began < seconds:
            self._measure()
        self._keep()

    def work_ahead(self) -> bool:
        """Measures one product; false when none is left."""
        if not self._left:
            return False
        self._measure()
        if not self._left:
            self._keep()
        return True

    def _measure(self) -> None:
        shape = self._left.pop()
        try:
            self._products.measure(shape)
        except RuntimeError as error:
            # A start must not fail by what only makes it faster.
            cause = str(error).partition("\n")[0]
            log.warning("products of %d rows and more are not measured: %s", shape.rows, cause)
            self._left.clear()

    def _keep(self) -> None:
        self._cache.store(KIND, self._facts, self._products.record())
