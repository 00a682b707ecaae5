"""Safetensors read by several threads straight to the device, each rank its own bytes alone."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from shardline.weights.safetensors_header import StoredTensor, read_header
from shardline.weights.safetensors_source import weight_files
from shardline.weights.source import Part, WeightError, WeightSource
from shardline.weights.transfer import Span, Transfer


class StreamedSafetensors(WeightSource):
    """`fill` returns at once; the values have arrived when `finish` returns."""

    streams: ClassVar[bool] = True

    def __init__(self, folder: Path, device: torch.device, threads: int) -> None:
        self._device = device
        self._stored: dict[str, tuple[StoredTensor, Path]] = {}
        self._descriptors: dict[Path, int] = {}
        self._transfer = Transfer(device, threads)
        for path in weight_files(folder):
            for name, tensor in read_header(path).items():
                if name in self._stored:
                    raise WeightError(
                        f"weight {name} is in both {self._stored[name][1].name} and {path.name}"
                    )
                self._stored[name] = (tensor, path)

    def _entry(self, name: str) -> tuple[StoredTensor, Path]:
        entry = self._stored.get(name)
        if entry is None:
            raise WeightError(f"weight {name} is in none of the model's files")
        return entry

    def has(self, name: str) -> bool:
        return name in self._stored

    def shape(self, name: str) -> tuple[int, ...] | None:
        return self._entry(name)[0].shape

    def read(self, part: Part) -> Tensor:
        values = torch.empty(part.part_shape, dtype=self._entry(part.name)[0].dtype, device=self._device)
        self.fill(part, values)
        self.finish()
        return values

    def fill(self, part: Part, destination: Tensor) -> None:
        stored, path = self._entry(part.name)
        descriptor = self._descriptor(path)
        whole = part.shape[part.dim] if part.shape else 1
        length = whole if part.length < 0 else part.length
        inner = math.prod(part.shape[part.dim + 1 :]) * stored.dtype.itemsize
        rows = math.prod(part.shape[: part.dim])
        width, stride = length * inner, whole * inner
        if width == stride:
            rows, width, stride = 1, rows * width, rows * stride
        offset = stored.offset + (0 if part.length < 0 else part.start) * inner
        self._transfer.start(Span(descriptor, path, offset, rows, width, stride), stored.dtype, destination)

    def finish(self) -> None:
        try:
            self._transfer.finish()
        finally:
            for descriptor in self._descriptors.values():
                os.close(descriptor)
            self._descriptors.clear()

    def _descriptor(self, path: Path) -> int:
        if path not in self._descriptors:
            try:
                self._descriptors[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise WeightError(f"{path} cannot be read: {error.strerror}") from error
        return self._descriptors[path]
