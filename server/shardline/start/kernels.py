"""The kernels of a start: known from an earlier one and loaded at once, or found and compiled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass

import torch

from shardline.config import set_unless_given
from shardline.kernels.compilation import (
    KernelVariant,
    compile_variants,
    dry_run,
    keep_kernels_in,
    sources_digest,
)
from shardline.start.cache import StartCache

KIND = "kernels"


@dataclass(frozen=True, slots=True)
class KernelStart:
    """`facts`: on which it depends what kernels there are. `workers`: threads that compile."""

    cache: StartCache
    facts: Mapping[str, object]
    device: torch.device
    workers: int

    def begin(self) -> Future[None] | None:
        """Starts to load the kernels of an earlier start; none when there was none."""
        variants = known_variants(self.cache.load(KIND, self._facts()))
        if variants is None:
            return None
        pool = ThreadPoolExecutor(1, thread_name_prefix="kernels")
        loaded = pool.submit(compile_variants, variants, self.device, self.workers)
        pool.shutdown(wait=False)
        return loaded

    def find(self, run_all: Callable[[], None], keep: bool) -> int:
        """Finds the kernels by a dry run of `run_all`, compiles them and may keep their names."""
        with dry_run(self.device, self.workers) as missing:
            run_all()
        variants = missing.finish()
        if keep:
            self.cache.store(KIND, self._facts(), [asdict(variant) for variant in variants])
        return len(variants)

    def _facts(self) -> dict[str, object]:
        return {**self.facts, "kernels": sources_digest()}


def known_variants(record: object) -> list[KernelVariant] | None:
    """From a record; none when it is not one of ours."""
    if not isinstance(record, list):
        return None
    names = set(KernelVariant.__dataclass_fields__)
    variants = []
    for entry in record:
        if not isinstance(entry, dict) or set(entry) != names:
            return None
        if not all(isinstance(value, str) for value in entry.values()):
            return None
        if not entry["module"].startswith("shardline.kernels."):
            return None
        variants.append(KernelVariant(**entry))
    return variants


def keep_compiled(cache: StartCache) -> None:
    """Triton's cache lies in ours, and that of flash-attn-4, unless the user said where."""
    if cache.folder is None:
        return
    keep_kernels_in(cache.folder / "triton")
    set_unless_given(
        {
            "FLASH_ATTENTION_CUTE_DSL_CACHE_ENABLED": "1",
            "FLASH_ATTENTION_CUTE_DSL_CACHE_DIR": str(cache.folder / "flash-attn-4"),
        }
    )
