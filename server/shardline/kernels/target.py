"""What the card offers to the kernels, read once at start."""

from __future__ import annotations

from dataclasses import dataclass

import torch

_HOPPER = (9, 0)


@dataclass(frozen=True, slots=True)
class KernelTarget:
    """Properties of one device that decide how kernels are launched.

    multiprocessors:  streaming multiprocessors of the card (1 for the interpreter)
    capability:       (major, minor) of the CUDA architecture; (0, 0) without a card
    chained_launch:   a kernel may start while the one before it drains (programmatic dependent launch)
    bulk_loads:       tiles can be fetched by the tensor memory unit through descriptors
    """

    multiprocessors: int
    capability: tuple[int, int]
    chained_launch: bool
    bulk_loads: bool

    @staticmethod
    def of(device: torch.device) -> KernelTarget:
        """The target of a torch device; the interpreter's for anything that is not CUDA."""
        if device.type != "cuda":
            return KernelTarget(1, (0, 0), chained_launch=False, bulk_loads=False)
        properties = torch.cuda.get_device_properties(device)
        capability = (properties.major, properties.minor)
        hopper = capability >= _HOPPER
        return KernelTarget(
            properties.multi_processor_count, capability, chained_launch=hopper, bulk_loads=hopper
        )
