"""Memory on each rank's GPU that all ranks of one host read and write directly."""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from shardline.dist.cuda_memory import CudaError, CudaMemory

Exchange = Callable[[bytes], list[bytes]]
_BOOT = Path("/proc/sys/kernel/random/boot_id")
log = logging.getLogger("shardline.dist")


class SharedMemory(Protocol):
    """How a process gives others its GPU's memory, and gets theirs (see `CudaMemory`)."""

    def allocate(self, num_bytes: int) -> int: ...
    def name(self, address: int) -> bytes: ...
    def map(self, name: bytes) -> int: ...


@dataclass(frozen=True, slots=True)
class PeerMemory:
    """As much on every rank, for as long as the process lives. `addresses`: i64[ranks], device: of all."""

    addresses: Tensor

    @classmethod
    def open(
        cls, exchange: Exchange, rank: int, num_bytes: int, device: torch.device
    ) -> PeerMemory | None:
        """Meets the other ranks; none where a GPU cannot reach another one's memory.

        exchange:  gives one rank's bytes to all and returns those of all, in their order

        Every rank has to call it. Whether all of them got there is for the caller to agree on. The
        memory is zero.
        """
        try:
            memory: SharedMemory | None = CudaMemory.open()
        except OSError as error:
            _tell(error)
            memory = None
        addresses = meet(memory, exchange, rank, num_bytes, _host(), lambda: torch.cuda.synchronize(device))
        if addresses is None:
            return None
        return cls(torch.tensor(addresses, dtype=torch.int64, device=device))


def meet(
    memory: SharedMemory | None,
    exchange: Exchange,
    rank: int,
    num_bytes: int,
    host: bytes,
    settle: Callable[[], None],
) -> list[int] | None:
    """Where each rank's memory is for this one. A rank that has none to give takes part all the same.

    host:    the same for all processes of one host
    settle:  returns when the memory is zero
    """
    own, offered = 0, b""
    if memory is not None:
        try:
            own = memory.allocate(num_bytes)
            offered = host + memory.name(own)
            settle()
        except CudaError as error:
            _tell(error)
    offers = exchange(offered)
    if memory is None or not all(offer.startswith(host) and len(offer) > len(host) for offer in offers):
        return None
    try:
        return [
            own if peer == rank else memory.map(offer[len(host) :]) for peer, offer in enumerate(offers)
        ]
    except CudaError as error:
        _tell(error)
        return None


def _tell(error: Exception) -> None:
    log.info("ranks do not reach each other's memory: %s", error)


def _host() -> bytes:
    """What processes of one host have in common, and no others."""
    name = platform.node().encode()
    with suppress(OSError):
        return name + _BOOT.read_bytes().strip()
    return name
