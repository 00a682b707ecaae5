"""The seam of weight files, and what a rank reads through it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor


class WeightError(ValueError):
    """Weights that are missing, malformed or not those the config promises."""


@dataclass(frozen=True, slots=True)
class Part:
    """A tensor, or the half-open range [start, start + length) of one of its dimensions.

    `shape`: the whole tensor's, as the config promises it. `room`: places for the range; those beyond it are
    zero. Only a `WeightReader` knows of it: no source is asked for a part with room left over.
    """

    name: str
    shape: tuple[int, ...]
    dim: int = 0
    start: int = 0
    length: int = -1
    room: int = -1

    @property
    def part_shape(self) -> tuple[int, ...]:
        """The shape of what is read, with its room."""
        if self.length < 0:
            return self.shape
        return (*self.shape[: self.dim], self.length + self.left_over, *self.shape[self.dim + 1 :])

    @property
    def left_over(self) -> int:
        """Places that hold zeros."""
        return max(0, self.room - self.length) if self.length >= 0 else 0

    @property
    def is_whole(self) -> bool:
        """Whether the whole tensor is read."""
        return self.length < 0 or (self.start == 0 and self.length == self.shape[self.dim])


class WeightSource(ABC):
    """The tensors of a model under their Hugging Face names.

    `streams`: whether `fill` returns before the values have arrived; `read` gives them at once.
    """

    streams: ClassVar[bool] = False

    @abstractmethod
    def has(self, name: str) -> bool:
        """Whether there is such a tensor."""

    @abstractmethod
    def shape(self, name: str) -> tuple[int, ...] | None:
        """The shape of the whole tensor; none: any. Raises `WeightError` when there is no tensor."""

    @abstractmethod
    def read(self, part: Part) -> Tensor:
        """The part's values in their stored or dequantized type, wherever they lie now."""

    def fill(self, part: Part, destination: Tensor) -> None:
        """Puts the part's values into `destination`: any type, contiguous, of the part's shape."""
        destination.copy_(self.read(part))

    def finish(self) -> None:
        """Returns when all that was filled has arrived. Raises `WeightError` when it could not."""
        return


class WeightReader:
    """What a rank reads with: checks shapes, converts to the serving type, moves to the device.

    The values may still be on their way when a tensor is returned: `finish` waits for them all.
    `read_bytes`: what it has put on the device so far, or has under way.
    """

    def __init__(self, source: WeightSource, dtype: torch.dtype, device: torch.device) -> None:
        self.source = source
        self.dtype = dtype
        self.device = device
        self.read_bytes = 0

    def read(self, part: Part) -> Tensor:
        """dtype[part.part_shape] on the device, contiguous."""
        if self.source.streams or part.left_over:
            values = torch.empty(part.part_shape, dtype=self.dtype, device=self.device)
            self.read_into(part, values)
            return values
        self._count(part)
        return self.source.read(part).to(device=self.device, dtype=self.dtype).contiguous()

    def read_into(self, part: Part, destination: Tensor) -> None:
        """`destination`: dtype[part.part_shape] on the device, contiguous."""
        self._count(part)
        if not part.left_over:
            self.source.fill(part, destination)
            return
        destination.narrow(part.dim, part.length, part.left_over).zero_()
        if part.length:
            exact, place = replace(part, room=-1), destination.narrow(part.dim, 0, part.length)
            if place.is_contiguous():
                self.source.fill(exact, place)
            else:
                place.copy_(self.source.read(exact))

    def stack(self, parts: tuple[Part, ...]) -> Tensor:
        """Several parts one below the other (along dimension 0)."""
        if len(parts) == 1:
            return self.read(parts[0])
        rows = sum(part.part_shape[0] for part in parts)
        merged = torch.empty((rows, *parts[0].part_shape[1:]), dtype=self.dtype, device=self.device)
        first = 0
        for part in parts:
            last = first + part.part_shape[0]
            self.read_into(part, merged[first:last])
            first = last
        return merged

    def finish(self) -> None:
        """Returns when all values are where they belong."""
        self.source.finish()

    def _count(self, part: Part) -> None:
        stored = self.source.shape(part.name)
        if stored is not None and stored != part.shape:
            raise WeightError(
                f"weight {part.name} has shape {list(stored)}; config.json promises {list(part.shape)}"
            )
        self.read_bytes += math.prod(part.part_shape) * self.dtype.itemsize
