"""The header of a safetensors file: which tensors it holds, and at which bytes.

A reader that copies bytes itself must trust offsets, so everything is checked against the file's
size: types are known, a tensor's bytes fit its shape, and the tensors cover the data without holes
or overlaps.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from shardline.weights.source import WeightError

LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000
METADATA = "__metadata__"


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """`offset`, `bytes`: in the file."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int
    bytes: int


def stored_types() -> dict[str, torch.dtype]:
    """Names in a header → types."""
    return {
        "F64": torch.float64,
        "F32": torch.float32,
        "F16": torch.float16,
        "BF16": torch.bfloat16,
        "F8_E4M3": torch.float8_e4m3fn,
        "F8_E5M2": torch.float8_e5m2,
        "I64": torch.int64,
        "I32": torch.int32,
        "I16": torch.int16,
        "I8": torch.int8,
        "U8": torch.uint8,
        "BOOL": torch.bool,
    }


def read_header(path: Path) -> dict[str, StoredTensor]:
    """The file's tensors by name."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(LENGTH_BYTES), "little")
            if size < LENGTH_BYTES or not 0 < length <= min(MAX_HEADER_BYTES, size - LENGTH_BYTES):
                raise _malformed(path, f"it announces a header of {length} bytes and has {size}")
            text = file.read(length)
    except OSError as error:
        raise WeightError(f"{path} cannot be read: {os.strerror(error.errno or 0)}") from error
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _malformed(path, f"its header is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise _malformed(path, "its header is not a JSON object")
    start = LENGTH_BYTES + length
    tensors = {name: _tensor(path, name, entry, start) for name, entry in content.items() if name != METADATA}
    _check_cover(path, tensors, start, size)
    return tensors


def _malformed(path: Path, what: str) -> WeightError:
    return WeightError(f"{path} is not a safetensors file: {what}")


def _whole_numbers(values: object) -> list[int] | None:
    if not isinstance(values, list):
        return None
    whole = [value for value in values if type(value) is int and value >= 0]
    return whole if len(whole) == len(values) else None


def _tensor(path: Path, name: str, entry: object, start: int) -> StoredTensor:
    given = entry if isinstance(entry, dict) else {}
    dtype = stored_types().get(str(given.get("dtype")))
    shape, offsets = _whole_numbers(given.get("shape")), _whole_numbers(given.get("data_offsets"))
    if dtype is None:
        raise _malformed(path, f"tensor {name} is of the type {given.get('dtype')!r}")
    if shape is None or offsets is None or len(offsets) != 2:
        raise _malformed(path, f"tensor {name} has no valid shape and offsets")
    length = math.prod(shape) * dtype.itemsize
    if offsets[1] - offsets[0] != length:
        raise _malformed(path, f"tensor {name} has {offsets[1] - offsets[0]} bytes; its shape needs {length}")
    return StoredTensor(dtype, tuple(shape), start + offsets[0], length)


def _check_cover(path: Path, tensors: dict[str, StoredTensor], start: int, size: int) -> None:
    at = start
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].offset, item[1].bytes)):
        if tensor.offset != at:
            raise _malformed(path, f"tensor {name} begins at byte {tensor.offset}, not at {at}")
        at += tensor.bytes
    if at != size:
        raise _malformed(path, f"its tensors end at byte {at} and the file at {size}")
