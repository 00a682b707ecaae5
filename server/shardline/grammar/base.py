"""The seam to whatever follows grammars. The real one is native (`native.py`)."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

I32 = npt.NDArray[np.int32]
U64 = npt.NDArray[np.uint64]
U8 = npt.NDArray[np.uint8]


class RowState(IntEnum):
    """What is known of a row's next token."""

    OPEN = 0
    COMPLETE = 1
    """Nothing but the end may come."""
    FAILED = 2
    """The grammar could not be compiled or followed: the sequence is to be ended."""


class GrammarFields(Protocol):
    """`shardline.v1.Grammar`. `kind`: "json_schema", "regex" or "lark"."""

    @property
    def kind(self) -> str: ...
    @property
    def source(self) -> str: ...


class GrammarEngine(Protocol):
    """Sequences that follow grammars, each known by a handle that is never used twice.

    A mask is a row of i32[mask_words]: the bit of token t is bit t % 32 of word t // 32.
    """

    @property
    def mask_words(self) -> int: ...

    @property
    def native(self) -> Any:
        """What the endpoint is given to compile grammars with."""
        ...

    def admit(self, grammar: GrammarFields, generated: I32) -> int:
        """A sequence begins after the tokens it has generated before; does not wait."""
        ...

    def release(self, handle: int) -> None:
        """The sequence is gone."""
        ...

    def reset(self) -> None:
        """All sequences are gone."""
        ...

    def advance(self, handles: U64, tokens: I32) -> None:
        """Tokens were sampled; sequences that are gone are passed. Does not wait."""
        ...

    def fill(self, handles: U64, generated: I32, out: Tensor) -> U8:
        """Waits for the masks after `generated` tokens and writes them to `out`, host
        i32[n, mask_words]. `RowState` of each; a failed row's mask allows everything."""
        ...
