"""How one sequence is sampled, checked by whoever made it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


def _no_ids() -> npt.NDArray[np.int32]:
    return np.empty(0, np.int32)


@dataclass(frozen=True, slots=True)
class Parameters:
    """See `shardline.v1.SamplingParameters`; ids are i32[n], bias values f32[n]."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logprobs: bool = False
    top_logprobs: int = 0
    min_tokens: int = 0
    stop_token_ids: npt.NDArray[np.int32] = field(default_factory=_no_ids)
    allowed_token_ids: npt.NDArray[np.int32] = field(default_factory=_no_ids)
    logit_bias_ids: npt.NDArray[np.int32] = field(default_factory=_no_ids)
    logit_bias_values: npt.NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    seed: int = 0
    choice: int = 0

    @property
    def has_penalties(self) -> bool:
        """Whether any penalty is on."""
        return self.repetition_penalty != 1.0 or self.frequency_penalty != 0.0 or self.presence_penalty != 0.0
