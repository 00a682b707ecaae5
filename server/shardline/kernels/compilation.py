"""Compiling many kernels at once, and knowing them again at the next start.

Triton compiles a kernel when it is first launched, one after another and a second or two each. Here
launches of kernels that are not compiled yet are noted and skipped, and a pool of threads compiles
them meanwhile: most of the time goes to the compiler's native code and to the assembler, which run
outside of Python's lock. Results land in Triton's cache on disk. The notes themselves can be kept: a
later start loads the same kernels without running anything first.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from triton import knobs
from triton.runtime.jit import JITFunction


@dataclass(frozen=True, slots=True)
class KernelVariant:
    """A kernel with all it is specialised by. `description`: Triton's own, JSON."""

    module: str
    name: str
    description: str


class MissingKernels:
    """Variants that a dry run meets and has not compiled; each is compiled from then on by a thread."""

    def __init__(self, device: torch.device, workers: int) -> None:
        self._device = device
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="compile")
        self._thread = threading.get_ident()
        self._pending: dict[str, Future[None]] = {}
        self._variants: list[KernelVariant] = []

    def note(self, key: str, fn: Any, compile: dict[str, Any], **_: object) -> bool:
        """Triton's hook before a compilation; true makes it skip the launch."""
        if threading.get_ident() != self._thread:
            return False
        name = f"{fn.module}.{fn.name}.{key}"
        if name not in self._pending:
            variant = KernelVariant(fn.module, fn.name, compile["specialization_data"])
            self._variants.append(variant)
            self._pending[name] = self._pool.submit(_compile, variant, self._device)
        return True

    def finish(self) -> list[KernelVariant]:
        """Returns when all are compiled and loaded."""
        with self._pool:
            for pending in self._pending.values():
                pending.result()
        return self._variants


@contextmanager
def dry_run(device: torch.device, workers: int) -> Generator[MissingKernels]:
    """Within it, this thread's launches of uncompiled kernels are skipped; other threads compile them."""
    missing = MissingKernels(device, workers)
    before = knobs.runtime.jit_cache_hook
    knobs.runtime.jit_cache_hook = missing.note
    try:
        yield missing
        missing.finish()
    finally:
        knobs.runtime.jit_cache_hook = before


def compile_variants(variants: Iterable[KernelVariant], device: torch.device, workers: int) -> None:
    """Takes variants from the cache on disk, or compiles them, and loads them."""
    with ThreadPoolExecutor(workers, thread_name_prefix="compile") as pool:
        for _ in pool.map(lambda variant: _compile(variant, device), variants):
            pass


def _compile(variant: KernelVariant, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_device(device)
    function = getattr(import_module(variant.module), variant.name, None)
    if not isinstance(function, JITFunction):
        raise LookupError(f"{variant.module} has no kernel {variant.name}")
    compiled = function.preload(variant.description)
    if compiled is not None:
        # Asking for its launcher puts the kernel on the card, which a capture could not.
        _ = compiled.run


def keep_kernels_in(folder: Path) -> None:
    """Where Triton's cache lies from now on."""
    knobs.cache.dir = str(folder)


def sources_digest() -> str:
    """Of all kernels: another digest, other kernels."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
