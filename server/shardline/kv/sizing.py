"""The number of KV blocks, from what memory allows or a flag asks.

Every rank computes its own number from its own memory; the group serves the smallest.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch

GIB = 1 << 30
CPU_TARGET_TOKENS = 8192
CPU_TARGET_SEQUENCES = 8
CPU_LIMIT_BYTES = 2 * GIB
CPU_MEMORY_SHARE = 0.25
STEP_MARGIN_BYTES = 2 * GIB
MEASURED_MARGIN_BYTES = 512 << 20
SMALLER = 0.9
log = logging.getLogger("shardline.kv")


class KvCacheError(ValueError):
    """Not even one sequence fits."""


@dataclass(frozen=True, slots=True)
class KvRequest:
    """`tokens`: of `--kv-cache-tokens`, or none. `bytes_per_block`: over all layers of this rank.

    `reserved_bytes`: of a GPU's memory, for a step at full size and what captures need.
    """

    tokens: int | None
    block_size: int
    bytes_per_block: int
    max_position: int
    reserved_bytes: int = 0


def step_bytes(tokens: int, rows: int, widths: tuple[int, ...], vocab_size: int, value_bytes: int) -> int:
    """A bound of what a step's tensors take at once, with what captured graphs and libraries need.

    `widths`: of the tensors that a layer holds beside each other, in values a token.
    """
    return STEP_MARGIN_BYTES + tokens * sum(widths) * value_bytes + logits_bytes(rows, vocab_size)


def logits_bytes(rows: int, vocab_size: int) -> int:
    """A row that samples holds its logits a few times, in float32."""
    return rows * vocab_size * 5 * 4


def blocks_for_tokens(tokens: int, block_size: int) -> int:
    """Blocks that hold `tokens` tokens."""
    return -(-tokens // block_size)


def cpu_blocks(request: KvRequest, available_bytes: int) -> int:
    """A bounded share of the memory that is available now.

    Without a flag: eight of the longest sequences, up to 2 GiB and a quarter of the memory.
    """
    if request.tokens is not None:
        return _at_least_one(blocks_for_tokens(request.tokens, request.block_size), request)
    wanted = max(CPU_TARGET_TOKENS, CPU_TARGET_SEQUENCES * request.max_position)
    limit = min(CPU_LIMIT_BYTES, int(available_bytes * CPU_MEMORY_SHARE))
    blocks = min(blocks_for_tokens(wanted, request.block_size), limit // request.bytes_per_block)
    return _at_least_one(blocks, request)


def gpu_blocks(request: KvRequest, free_bytes: int, total_bytes: int, memory_fraction: float) -> int:
    """What is left of the share of the card's memory, after weights and what is reserved.

    `free_bytes`: now; what others hold counts against the share.
    """
    if request.tokens is not None:
        return _at_least_one(blocks_for_tokens(request.tokens, request.block_size), request)
    usable = free_bytes - int(total_bytes * (1.0 - memory_fraction)) - request.reserved_bytes
    return _at_least_one(usable // request.bytes_per_block, request)


def allocate_blocks(
    blocks: int,
    allocate: Callable[[int], bool],
    agree: Callable[[int], int],
    request: KvRequest,
) -> int:
    """Allocates `blocks`, or as many fewer as memory turns out to allow; returns how many.

    Memory that was free a moment ago may be another process's by now. `allocate`: false when there
    is not enough; `agree`: the smallest of all ranks' values, since all must have the same number.
    """
    while not agree(int(allocate(blocks))):
        fewer = _at_least_one(int(blocks * SMALLER), request)
        log.warning(
            "the device has no memory for %d KV blocks any more; trying %d (%d tokens)",
            blocks,
            fewer,
            fewer * request.block_size,
        )
        blocks = fewer
    return blocks


def _at_least_one(blocks: int, request: KvRequest) -> int:
    if blocks < 1:
        raise KvCacheError(
            f"no memory is left for the KV cache (one block of {request.block_size} tokens needs "
            f"{request.bytes_per_block} bytes); free memory or pass --kv-cache-tokens"
        )
    return blocks


def available_memory() -> int:
    """Bytes of main memory that can be had without swapping."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 4 * GIB


def device_memory(device: torch.device) -> tuple[int, int]:
    """Free and total bytes of a GPU; cached blocks of torch's allocator count as free."""
    torch.cuda.empty_cache()
    return torch.cuda.mem_get_info(device)
