"""Grammars in the order of a step: sequences come and go, masks are taken, tokens are told.

The mask of a token needs the token before it. A step's forward pass is launched first; meanwhile the
tokens of the step before arrive on the host, the engine's threads compute the masks, and `rows` is
asked for them when only sampling is left. A step without constrained rows never waits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shardline.grammar.base import I32, U64, GrammarEngine, GrammarFields, RowState

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ConstrainedRows:
    """The sampled rows of a step that follow a grammar.

    `rows`: i32[m], among the step's sampled rows. `generated`: i32[m], tokens their masks come after.
    """

    rows: I32
    handles: U64
    generated: I32


@dataclass(frozen=True, slots=True)
class RowMasks:
    """Masks of the constrained rows. `masks`: host i32[m, words]. `complete`, `failed`: bool[m]."""

    of: ConstrainedRows
    masks: Tensor
    complete: Flags
    failed: Flags

    @property
    def rows(self) -> I32:
        """i32[m], among the step's sampled rows."""
        return self.of.rows


class Constraints:
    """Which slots follow which grammar."""

    def __init__(self, engine: GrammarEngine, constrained: Flags, pinned: bool) -> None:
        """`constrained`: bool[slots], kept up to date. `pinned`: masks go to a GPU."""
        self._engine = engine
        self._constrained = constrained
        self._pinned = pinned
        self._handles: U64 = np.zeros(len(constrained), np.uint64)

    def admit(self, slot: int, grammar: GrammarFields | None, generated: I32) -> None:
        """A sequence takes the slot. `generated`: tokens it has generated before."""
        self.release(slot)
        if grammar is not None:
            self._handles[slot] = self._engine.admit(grammar, generated)
            self._constrained[slot] = True

    def release(self, slot: int) -> None:
        """The slot's sequence is gone."""
        if self._constrained[slot]:
            self._engine.release(int(self._handles[slot]))
            self._constrained[slot] = False

    def reset(self) -> None:
        """All sequences are gone."""
        self._engine.reset()
        self._constrained[:] = False

    def rows(self, slots: I32, generated: I32) -> ConstrainedRows | None:
        """Of a step's sampled rows those that follow a grammar; none when no row does."""
        rows = np.flatnonzero(self._constrained[slots]).astype(np.int32)
        if not rows.size:
            return None
        return ConstrainedRows(rows, self._handles[slots[rows]], generated[rows])

    def masks(self, rows: ConstrainedRows) -> RowMasks:
        """Waits for the masks, without the interpreter's lock."""
        shape = (len(rows.rows), self._engine.mask_words)
        masks = torch.empty(shape, dtype=torch.int32, pin_memory=self._pinned)
        states = self._engine.fill(rows.handles, rows.generated, masks)
        return RowMasks(rows, masks, states == RowState.COMPLETE, states == RowState.FAILED)

    def sampled(self, rows: ConstrainedRows, tokens: I32) -> None:
        """`tokens`: i32[n] of all sampled rows of the step, on the host: their next masks begin."""
        self._engine.advance(rows.handles, tokens[rows.rows])
