"""Random weights for measuring: no file is read, values depend on names alone."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor

from shardline.weights.source import Part, WeightSource


class DummySource(WeightSource):
    """Every tensor exists: norms are one, the rest is normal with deviation 0.02."""

    def __init__(self, device: torch.device, absent: frozenset[str] = frozenset()) -> None:
        self._device = device
        self._absent = absent

    def has(self, name: str) -> bool:
        return name not in self._absent

    def shape(self, name: str) -> tuple[int, ...] | None:
        return None

    def read(self, part: Part) -> Tensor:
        if part.name.endswith("norm.weight"):
            return torch.ones(part.part_shape, device=self._device)
        generator = torch.Generator(self._device).manual_seed(zlib.crc32(part.name.encode()))
        values = torch.empty(part.shape, device=self._device).normal_(0.0, 0.02, generator=generator)
        return values if part.is_whole else values.narrow(part.dim, part.start, part.length)
