"""Which rank this is, and the few collectives that the shard uses.

A value that is handed to whoever needs it; nobody asks torch.distributed's globals.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed

from shardline.dist.agreement import Agreement
from shardline.dist.idle import IdleMoments
from shardline.dist.peers import PeerMemory

# The same under two names: torch 2.13 warns of the second one, which older versions have alone.
_NAMES_OF_GATHER = ("all_gather_single", "all_gather_into_tensor")
_gather = next(getattr(distributed, name) for name in _NAMES_OF_GATHER if hasattr(distributed, name))


@dataclass(frozen=True, slots=True)
class Rendezvous:
    """Where the ranks meet. `timeout_s`: how long a rank waits for the others."""

    address: str
    port: int
    timeout_s: float = 600.0


class ParallelGroup:
    """All ranks that hold one model. With one rank every collective is the identity.

    `idle_moments`: of all ranks; none where there is one.
    """

    def __init__(
        self,
        rank: int,
        world_size: int,
        group: distributed.ProcessGroup | None,
        agreement: Agreement | None,
        idle_moments: IdleMoments | None,
    ) -> None:
        self.rank = rank
        self.world_size = world_size
        self._group = group
        self._agreement = agreement
        self.idle_moments = idle_moments

    @classmethod
    def alone(cls) -> ParallelGroup:
        """The group of one rank."""
        return cls(rank=0, world_size=1, group=None, agreement=None, idle_moments=None)

    @classmethod
    def connect(
        cls, rank: int, world_size: int, device: torch.device, rendezvous: Rendezvous
    ) -> ParallelGroup:
        """Waits for all ranks; NCCL between GPUs, gloo between CPUs."""
        if world_size == 1:
            return cls.alone()
        timeout = timedelta(seconds=rendezvous.timeout_s)
        store = distributed.TCPStore(
            rendezvous.address, rendezvous.port, world_size, is_master=rank == 0, timeout=timeout
        )
        distributed.init_process_group(
            backend="nccl" if device.type == "cuda" else "gloo",
            store=store,
            rank=rank,
            world_size=world_size,
            timeout=timeout,
            device_id=device if device.type == "cuda" else None,
        )
        return cls(
            rank,
            world_size,
            distributed.group.WORLD,
            Agreement(store, rank, world_size),
            IdleMoments(store, rank, world_size),
        )

    @property
    def is_first(self) -> bool:
        """Whether this rank samples and answers with tokens."""
        return self.rank == 0

    def peer_memory(self, num_bytes: int, device: torch.device) -> PeerMemory | None:
        """Memory that all ranks reach directly; all of them get it, or none. Every rank has to call it."""
        if self._agreement is None or device.type != "cuda":
            return None
        memory = PeerMemory.open(self._agreement.answers, self.rank, num_bytes, device)
        return memory if self.agree(memory is not None) else None

    def sum(self, values: Tensor) -> Tensor:
        """Element-wise sum over ranks, in place; equal on all ranks."""
        if self.world_size > 1:
            distributed.all_reduce(values, group=self._group)
        return values

    def concatenate_columns(self, values: Tensor) -> Tensor:
        """[rows, columns] of each rank → [rows, world_size * columns] in the order of ranks."""
        if self.world_size == 1:
            return values
        rows, columns = values.shape
        parts = values.new_empty((self.world_size, rows, columns))
        _gather(parts.view(-1, columns), values.contiguous(), group=self._group)
        return parts.transpose(0, 1).reshape(rows, self.world_size * columns)

    def broadcast(self, values: Tensor) -> Tensor:
        """The first rank's values, in place."""
        if self.world_size > 1:
            distributed.broadcast(values, src=0, group=self._group)
        return values

    def minimum(self, value: int, device: torch.device) -> int:
        """The smallest of the ranks' values (at start only: it waits for the device)."""
        if self.world_size == 1:
            return value
        held = torch.tensor([value], dtype=torch.int64, device=device)
        distributed.all_reduce(held, op=distributed.ReduceOp.MIN, group=self._group)
        return int(held.item())

    def agree(self, consent: bool) -> bool:
        """Whether all ranks consent. Every rank has to call it; no device is waited for."""
        return consent if self._agreement is None else self._agreement.of_all(consent)

    def close(self) -> None:
        """Leaves the group."""
        if self._group is not None:
            distributed.destroy_process_group()
            self._group = self._agreement = self.idle_moments = None
