"""From the device to the host: started with the step, taken when its outcome is made."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


class Fetch:
    """Copies of device tensors on their way to the host.

    On a GPU the copies go to pinned memory behind the step's work in the stream, and an event says
    when they are there; on the CPU there is nothing to wait for.
    """

    def __init__(self, device: torch.device) -> None:
        self._pinned = device.type == "cuda"
        self._event: torch.cuda.Event | None = None

    def start(self, values: Tensor) -> Tensor:
        """Where the copy will be; read it after `wait`."""
        if not self._pinned:
            return values
        host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        host.copy_(values, non_blocking=True)
        return host

    def seal(self) -> None:
        """All copies are started."""
        if self._pinned:
            self._event = torch.cuda.Event()
            self._event.record()

    def wait(self) -> None:
        """Returns when all copies have arrived."""
        if self._event is not None:
            self._event.synchronize()


def as_i32(values: Tensor) -> npt.NDArray[np.int32]:
    """A host tensor as numpy."""
    return values.numpy().astype(np.int32, copy=False)


def as_f32(values: Tensor) -> npt.NDArray[np.float32]:
    """A host tensor as numpy."""
    return values.numpy().astype(np.float32, copy=False)
