"""Compiling many kernels at once.

Triton compiles a kernel when it is first launched, one after another and a second or two each. Here
launches of kernels that are not compiled yet are noted and skipped, and all of them are compiled
together by a pool of threads: most of the time goes to the compiler's native code and to the
assembler, which run outside of Python's lock. Results land in Triton's cache on disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from triton import knobs


@dataclass(slots=True)
class MissingKernels:
    """Variants that a dry run would have had to compile: Triton's own description of each."""

    variants: dict[str, tuple[Any, str]] = field(default_factory=dict)

    def note(self, key: str, fn: Any, compile: dict[str, Any], **_: object) -> bool:
        """Triton's hook before a compilation; true makes it skip the launch."""
        self.variants[f"{fn.module}.{fn.name}.{key}"] = (fn.jit_function, compile["specialization_data"])
        return True


@contextmanager
def dry_run() -> Iterator[MissingKernels]:
    """Within it, launches of uncompiled kernels are noted instead of compiled and run."""
    missing = MissingKernels()
    before = knobs.runtime.jit_cache_hook
    knobs.runtime.jit_cache_hook = missing.note
    try:
        yield missing
    finally:
        knobs.runtime.jit_cache_hook = before


def compile_missing(missing: MissingKernels, device: torch.device, workers: int) -> int:
    """Compiles what a dry run noted; returns how many variants those were."""

    def compile_one(variant: tuple[Any, str]) -> None:
        torch.cuda.set_device(device)
        function, description = variant
        function.preload(description)

    with ThreadPoolExecutor(workers, thread_name_prefix="compile") as pool:
        for _ in pool.map(compile_one, missing.variants.values()):
            pass
    return len(missing.variants)
