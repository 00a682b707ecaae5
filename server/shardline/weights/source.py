"""The seam of weight files, and what a rank reads through it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor


class WeightError(ValueError):
    """Weights that are missing, malformed or not those the config promises."""


@dataclass(frozen=True, slots=True)
class Part:
    """A tensor, or the half-open range [start, start + length) of one of its dimensions.

    `shape`: the whole tensor's, as the config promises it.
    """

    name: str
    shape: tuple[int, ...]
    dim: int = 0
    start: int = 0
    length: int = -1

    @property
    def part_shape(self) -> tuple[int, ...]:
        """The shape of what is read."""
        if self.length < 0:
            return self.shape
        return (*self.shape[: self.dim], self.length, *self.shape[self.dim + 1 :])

    @property
    def is_whole(self) -> bool:
        """Whether the whole tensor is read."""
        return self.length < 0 or (self.start == 0 and self.length == self.shape[self.dim])


class WeightSource(ABC):
    """The tensors of a model under their Hugging Face names."""

    @abstractmethod
    def has(self, name: str) -> bool:
        """Whether there is such a tensor."""

    @abstractmethod
    def shape(self, name: str) -> tuple[int, ...] | None:
        """The shape of the whole tensor; none: any. Raises `WeightError` when there is no tensor."""

    @abstractmethod
    def read(self, part: Part) -> Tensor:
        """The part's values in their stored or dequantized type, wherever they lie now."""


class WeightReader:
    """What a rank reads with: checks shapes, converts to the serving type, moves to the device.

    `read_bytes`: what it has put on the device so far.
    """

    def __init__(self, source: WeightSource, dtype: torch.dtype, device: torch.device) -> None:
        self.source = source
        self.dtype = dtype
        self.device = device
        self.read_bytes = 0

    def read(self, part: Part) -> Tensor:
        """dtype[part.part_shape] on the device, contiguous."""
        stored = self.source.shape(part.name)
        if stored is not None and stored != part.shape:
            raise WeightError(
                f"weight {part.name} has shape {list(stored)}; config.json promises {list(part.shape)}"
            )
        values = self.source.read(part)
        self.read_bytes += values.numel() * self.dtype.itemsize
        return values.to(device=self.device, dtype=self.dtype).contiguous()

    def stack(self, parts: tuple[Part, ...]) -> Tensor:
        """Several parts one below the other (along dimension 0), read one at a time."""
        if len(parts) == 1:
            return self.read(parts[0])
        rows = sum(part.part_shape[0] for part in parts)
        merged = torch.empty((rows, *parts[0].part_shape[1:]), dtype=self.dtype, device=self.device)
        first = 0
        for part in parts:
            values = self.read(part)
            merged[first : first + values.shape[0]] = values
            first += values.shape[0]
        return merged
