"""How much memory a shard's steps need beside weights and KV cache, measured on the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch

from shardline.runner.graphs import MOST_GRAPHS, GraphForward

# What a driver may take for one graph of some hundred kernels when the measurement says nothing.
LEAST_GRAPH_BYTES = 2 << 20


@dataclass(frozen=True, slots=True)
class StepMemory:
    """Bytes. `launched`: the largest step that is launched by the host, its sampling apart;
    `pool`: what all captured steps share; `graph`: what the driver takes for each of them.
    """

    launched: int
    pool: int
    graph: int

    @property
    def captured(self) -> int:
        """For as many graphs as are kept."""
        return self.pool + MOST_GRAPHS * self.graph

    def record(self) -> dict[str, int]:
        """As it is kept on disk."""
        return asdict(self)

    @classmethod
    def of_record(cls, record: object) -> StepMemory | None:
        """From disk; none when it is not what `record` wrote."""
        names = ("launched", "pool", "graph")
        if not isinstance(record, dict) or set(record) != set(names):
            return None
        values = [record[name] for name in names]
        if not all(type(value) is int and value >= 0 for value in values):
            return None
        return cls(*values)


def measure(largest_step: Callable[[], object], graphs: GraphForward, device: torch.device) -> StepMemory:
    """Runs the largest step and captures the largest graphs. Their kernels are loaded already."""
    _settle(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    largest_step()
    _settle(device)
    launched = torch.cuda.max_memory_allocated(device) - before
    reserved, free = torch.cuda.memory_reserved(device), torch.cuda.mem_get_info(device)[0]
    count = graphs.capture_largest()
    _settle(device)
    pool = torch.cuda.memory_reserved(device) - reserved
    taken = free - torch.cuda.mem_get_info(device)[0]
    graphs.give_up()
    return StepMemory(launched, max(0, pool), max(LEAST_GRAPH_BYTES, (taken - pool) // count))


def _settle(device: torch.device) -> None:
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
