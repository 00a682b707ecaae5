"""The native engine behind the seam's words: arrays become bytes and addresses here alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from shardline import _native
from shardline.grammar.base import I32, U8, U64, GrammarFields


class NativeGrammars:
    """See `shardline._native.Grammars`; a `GrammarEngine`."""

    def __init__(self, model_path: Path, vocab_size: int, threads: int) -> None:
        self._native = _native.Grammars(str(model_path), vocab_size=vocab_size, threads=threads)
        self._vocab_size = vocab_size

    @property
    def native(self) -> _native.Grammars:
        """What the endpoint compiles grammars with."""
        return self._native

    @property
    def mask_words(self) -> int:
        """Words of a mask."""
        return self._native.mask_words

    def admit(self, grammar: GrammarFields, generated: I32) -> int:
        """See `GrammarEngine.admit`."""
        return self._native.admit(grammar.kind, grammar.source, generated.tobytes())

    def release(self, handle: int) -> None:
        """See `GrammarEngine.release`."""
        self._native.release(handle)

    def reset(self) -> None:
        """See `GrammarEngine.reset`."""
        self._native.reset()

    def advance(self, handles: U64, tokens: I32) -> None:
        """See `GrammarEngine.advance`."""
        self._native.advance(handles.tobytes(), tokens.tobytes())

    def fill(self, handles: U64, generated: I32, out: Tensor) -> U8:
        """See `GrammarEngine.fill`."""
        states = self._native.fill(handles.tobytes(), generated.tobytes(), out.data_ptr())
        return np.frombuffer(states, np.uint8)

    def apply(self, logits: Tensor, rows: I32, masks: Tensor) -> None:
        """An `ApplyMasks` for dense float32 logits on the CPU, without a temporary."""
        self._native.apply(masks.data_ptr(), logits.data_ptr(), rows.tobytes(), self._vocab_size)
