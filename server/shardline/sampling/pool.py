"""Rows of the vocabulary's width that only some sequences need."""

from __future__ import annotations

import torch
from torch import Tensor


class RowPool:
    """Rows `dtype[width]` given to slots on demand; grows by doubling, so it costs what is used."""

    def __init__(self, width: int, dtype: torch.dtype, device: torch.device) -> None:
        self._width = width
        self._row_of: dict[int, int] = {}
        self._free: list[int] = []
        self.rows: Tensor = torch.zeros((0, width), dtype=dtype, device=device)

    def take(self, slot: int) -> Tensor:
        """A zeroed row for the slot: a view, dtype[width]."""
        if slot not in self._row_of:
            if not self._free:
                self._grow()
            self._row_of[slot] = self._free.pop()
        return self.rows[self._row_of[slot]].zero_()

    def release(self, slot: int) -> None:
        """The slot needs no row any more."""
        row = self._row_of.pop(slot, None)
        if row is not None:
            self._free.append(row)

    def index(self, slots: list[int]) -> list[int]:
        """Which rows the slots have."""
        return [self._row_of[slot] for slot in slots]

    def _grow(self) -> None:
        held = self.rows.shape[0]
        grown = self.rows.new_zeros((max(4, 2 * held), self._width))
        grown[:held] = self.rows
        self.rows = grown
        self._free.extend(range(grown.shape[0] - 1, held - 1, -1))
