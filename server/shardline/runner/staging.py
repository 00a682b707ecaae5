"""Host memory from which a step's inputs are copied to the device.

A ring of buffers with one layout. On a GPU they are pinned, and one is filled again only after the
copy out of it is over; so many steps may be in flight as there are buffers.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from shardline.endpoint.frame import I32

_BUFFERS = 6


class StagingRing:
    """i32 buffers of `size` elements; `places`: field → (start, length) in each."""

    def __init__(self, size: int, places: Mapping[str, tuple[int, int]], device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        count = _BUFFERS if self._on_gpu else 1
        self._buffers = [torch.zeros(size, dtype=torch.int32, pin_memory=self._on_gpu) for _ in range(count)]
        self._fields: list[dict[str, I32]] = [
            {name: buffer[start : start + length].numpy() for name, (start, length) in places.items()}
            for buffer in self._buffers
        ]
        self._copied: list[torch.cuda.Event | None] = [None] * count
        self._at = 0

    def take(self) -> dict[str, I32]:
        """The fields of the next buffer; whatever an earlier step left is still in them."""
        self._at = (self._at + 1) % len(self._buffers)
        copied = self._copied[self._at]
        if copied is not None:
            copied.synchronize()
        return self._fields[self._at]

    def copy_to(self, target: Tensor) -> None:
        """Starts the copy of the buffer taken last."""
        target.copy_(self._buffers[self._at], non_blocking=True)
        if self._on_gpu:
            copied = self._copied[self._at] or torch.cuda.Event()
            copied.record()
            self._copied[self._at] = copied
