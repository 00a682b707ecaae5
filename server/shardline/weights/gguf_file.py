"""The container format GGUF (version 2 and 3): metadata and where each tensor lies.

The reader of the `gguf` package makes a numpy view of every string, seconds for a vocabulary; this
one walks the header once. Every length is checked against the file before it is used.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from shardline.weights.source import WeightError

Scalar = int | float | bool | str

MAGIC = b"GGUF"
STRING, ARRAY = 8, 9
SCALAR_FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
MAX_DIMENSIONS = 4
MAX_NESTING = 4


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """`shape`: outermost dimension first. `offset`, `bytes`: in the file."""

    name: str
    shape: tuple[int, ...]
    kind: GGMLQuantizationType
    offset: int
    bytes: int


class _Cursor:
    """Reads the header from its beginning; running past the end is an error with the path."""

    def __init__(self, data: mmap.mmap, path: Path) -> None:
        self._data = data
        self._path = path
        self.at = 0

    def fail(self, what: str) -> WeightError:
        return WeightError(f"{self._path} is not a valid GGUF file: {what} at byte {self.at}")

    def take(self, count: int) -> bytes:
        if count > len(self._data) - self.at:
            raise self.fail(f"{count} bytes are announced and {len(self._data) - self.at} are left")
        self.at += count
        return self._data[self.at - count : self.at]

    def scalar(self, kind: int) -> Scalar:
        form = SCALAR_FORMATS.get(kind)
        if form is None:
            raise self.fail(f"unknown value type {kind}")
        return struct.unpack("<" + form, self.take(struct.calcsize(form)))[0]

    def u32(self) -> int:
        return struct.unpack("<I", self.take(4))[0]

    def u64(self) -> int:
        return struct.unpack("<Q", self.take(8))[0]

    def text(self) -> str:
        return self.take(self.u64()).decode("utf-8", errors="replace")

    def skip_array(self, nesting: int = 0) -> None:
        """Arrays (vocabulary, merges) are nothing the shard needs."""
        if nesting > MAX_NESTING:
            raise self.fail("arrays are nested too deeply")
        kind, count = self.u32(), self.u64()
        if kind in SCALAR_FORMATS:
            self.take(count * struct.calcsize(SCALAR_FORMATS[kind]))
            return
        if kind not in (STRING, ARRAY):
            raise self.fail(f"unknown value type {kind}")
        if count > len(self._data):
            raise self.fail(f"an array of {count} entries")
        for _ in range(count):
            if kind == STRING:
                self.take(self.u64())
            else:
                self.skip_array(nesting + 1)


class GgufFile:
    """`metadata`: scalars and strings by key. `tensors`: by name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise WeightError(f"{path} cannot be read: {error}") from error
        cursor = _Cursor(self._data, path)
        if cursor.take(4) != MAGIC:
            raise WeightError(f"{path} is not a GGUF file")
        version = cursor.u32()
        if version not in (2, 3):
            raise WeightError(f"{path} has GGUF version {version}; 2 and 3 are supported")
        num_tensors, num_values = cursor.u64(), cursor.u64()
        self.metadata = self._metadata(cursor, num_values)
        self.tensors = self._tensors(cursor, num_tensors)

    @staticmethod
    def _metadata(cursor: _Cursor, count: int) -> dict[str, Scalar]:
        metadata: dict[str, Scalar] = {}
        for _ in range(count):
            key, kind = cursor.text(), cursor.u32()
            if kind == ARRAY:
                cursor.skip_array()
            elif kind == STRING:
                metadata[key] = cursor.text()
            else:
                metadata[key] = cursor.scalar(kind)
        return metadata

    def _tensors(self, cursor: _Cursor, count: int) -> dict[str, TensorInfo]:
        found: list[TensorInfo] = []
        for _ in range(count):
            name, dimensions = cursor.text(), cursor.u32()
            if not 0 < dimensions <= MAX_DIMENSIONS:
                raise cursor.fail(f"tensor {name} has {dimensions} dimensions")
            shape = tuple(reversed([cursor.u64() for _ in range(dimensions)]))
            kind, offset = cursor.u32(), cursor.u64()
            found.append(self._info(cursor, name, shape, kind, offset))
        alignment = self.metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment <= 0:
            raise cursor.fail(f"alignment {alignment!r}")
        start = -(-cursor.at // alignment) * alignment
        tensors: dict[str, TensorInfo] = {}
        for info in found:
            placed = TensorInfo(info.name, info.shape, info.kind, start + info.offset, info.bytes)
            if placed.offset + placed.bytes > len(self._data):
                raise WeightError(f"{self.path} is cut off: tensor {info.name} ends past the end of the file")
            if info.name in tensors:
                raise WeightError(f"{self.path} has two tensors called {info.name}")
            tensors[info.name] = placed
        return tensors

    def _info(self, cursor: _Cursor, name: str, shape: tuple[int, ...], kind: int, offset: int) -> TensorInfo:
        try:
            known = GGMLQuantizationType(kind)
        except ValueError as error:
            raise cursor.fail(f"tensor {name} has the unknown type {kind}") from error
        block, size = GGML_QUANT_SIZES[known]
        if shape[-1] % block:
            raise cursor.fail(f"tensor {name} has rows of {shape[-1]}, not a multiple of {block},")
        count = 1
        for dimension in shape:
            count *= dimension
        return TensorInfo(name, shape, known, offset, count // block * size)

    def stored(self, info: TensorInfo) -> npt.NDArray[np.uint8]:
        """The tensor's bytes as they lie in the file: u8[all rows, bytes a row]; a view."""
        rows = 1
        for dimension in info.shape[:-1]:
            rows *= dimension
        flat = np.frombuffer(self._data, dtype=np.uint8, count=info.bytes, offset=info.offset)
        return flat.reshape(rows, -1)
