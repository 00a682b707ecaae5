"""Memory on each rank's GPU that all ranks of one host read and write directly.

It is that of `torch.distributed._symmetric_memory`, without multicast.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor, distributed

log = logging.getLogger("shardline.dist")


@dataclass(frozen=True, slots=True)
class PeerMemory:
    """As much on every rank. `own`: u8[bytes], this rank's. `addresses`: i64[ranks], device: of all."""

    own: Tensor
    addresses: Tensor

    @classmethod
    def open(
        cls, group: distributed.ProcessGroup, num_bytes: int, device: torch.device
    ) -> PeerMemory | None:
        """Meets the other ranks; none where a GPU cannot reach another one's memory.

        Every rank has to call it. Whether all of them got there is for the caller to agree on. The
        memory is zero.
        """
        try:
            from torch.distributed import _symmetric_memory as symmetric

            _prefer_direct(symmetric, device)
            own = symmetric.empty(num_bytes, dtype=torch.uint8, device=device)
            own.zero_()
            torch.cuda.synchronize(device)
            handle = symmetric.rendezvous(own, group.group_name)
            offset = getattr(handle, "offset", 0)
            addresses = [address + offset for address in handle.buffer_ptrs]
        except (ImportError, AttributeError, RuntimeError) as error:
            log.info("ranks do not reach each other's memory: %s", str(error).partition("\n")[0])
            return None
        return cls(own, torch.tensor(addresses, dtype=torch.int64, device=device))


def _prefer_direct(symmetric: ModuleType, device: torch.device) -> None:
    """GPUs map each other's memory; with NVSHMEM, torch's choice where it is there, the first one took 3 s."""
    with suppress(AttributeError, RuntimeError):
        if symmetric.get_backend(device) != "CUDA":
            symmetric.set_backend("CUDA")
