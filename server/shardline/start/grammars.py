"""Whether and how a shard follows grammars."""

from __future__ import annotations

import logging
import os
import threading

from shardline.config import ShardConfig
from shardline.grammar.constraints import Constraints
from shardline.grammar.native import NativeGrammars
from shardline.ops.registry import has_module
from shardline.runner.masks import Masking
from shardline.sampling.masks import ApplyMasks, apply_masks, apply_masks_by_kernel
from shardline.sampling.state import SamplingState

FEATURE = "grammar"
MOST_MASK_THREADS = 8


class StartingGrammars:
    """Reads the tokenizer while the weights load. Only the first rank samples, so only it does."""

    def __init__(self, config: ShardConfig, vocab_size: int) -> None:
        self._engine: NativeGrammars | None = None
        self._failure: str | None = None
        self._config = config
        self._vocab_size = vocab_size
        self._thread = threading.Thread(target=self._start, name="grammars", daemon=True)
        self._waits = config.rank == 0
        if self._waits:
            self._thread.start()

    def _start(self) -> None:
        threads = max(1, min(MOST_MASK_THREADS, (os.cpu_count() or 1) // 2))
        try:
            self._engine = NativeGrammars(self._config.model_path, self._vocab_size, threads)
        except ValueError as error:
            self._failure = str(error)

    @property
    def engine(self) -> NativeGrammars | None:
        """Waits for the engine; none where grammars cannot be followed, which is logged."""
        if self._waits:
            self._waits = False
            self._thread.join()
            if self._failure is not None:
                logging.getLogger("shardline.start").warning("grammars are not followed: %s", self._failure)
        return self._engine

    @property
    def features(self) -> tuple[str, ...]:
        """What Info tells; ranks that do not sample leave it to the first."""
        return (FEATURE,) if self._config.rank > 0 or self.engine is not None else ()

    def masking(self, sampling: SamplingState) -> Masking:
        """The runner's part in it."""
        on_gpu = sampling.device.type == "cuda"
        engine = self.engine
        constraints = None if engine is None else Constraints(engine, sampling.constrained, pinned=on_gpu)
        return Masking(constraints, _choose(on_gpu, engine))


def _choose(on_gpu: bool, engine: NativeGrammars | None) -> ApplyMasks:
    """How masks get into the logits: float32 on the CPU, any type on a GPU."""
    if on_gpu and has_module("triton"):
        return apply_masks_by_kernel
    return apply_masks if on_gpu or engine is None else engine.apply
