"""The grammar masks of a step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shardline.endpoint.frame import I32
from shardline.grammar.constraints import Constraints, RowMasks
from shardline.runner.batch import Batch, StepPlan
from shardline.sampling.masks import ApplyMasks


@dataclass(frozen=True, slots=True)
class Masking:
    """`constraints`: who follows which grammar; none: grammars are not followed here. `apply`: how their
    masks get into the logits."""

    constraints: Constraints | None
    apply: ApplyMasks


class StepMasks:
    """The grammar masks of one step, waited for when they are first needed."""

    def __init__(self, masking: Masking, batch: Batch, plan: StepPlan) -> None:
        self._constraints = constraints = masking.constraints
        self._taken: RowMasks | None = None
        slots: I32 = plan.slots[plan.samples]
        generated = plan.known[plan.samples] - batch.num_prompt[slots]
        self.constrained = None if constraints is None else constraints.rows(slots, generated)

    def take(self) -> RowMasks | None:
        """None when no row of the step follows a grammar."""
        constraints = self._constraints
        if self._taken is None and self.constrained is not None and constraints is not None:
            self._taken = constraints.masks(self.constrained)
        return self._taken

    def failed(self, rows: int) -> npt.NDArray[np.bool_]:
        """bool[rows]: whose grammars failed."""
        failed = np.zeros(rows, np.bool_)
        if self._taken is not None:
            failed[self._taken.rows] = self._taken.failed
        return failed
