"""cuBLASLt's products with the algorithm of our choice, through the library that torch has loaded.

torch asks cuBLAS, which picks an algorithm by a rule. cuBLASLt lists the ones its rule likes best, and
which of them is fastest for one shape on one card is a matter of measuring (see `library_choice`).

The functions, constants and structures are those of NVIDIA's cublasLt.h, versions 12 and 13.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from ctypes import byref, c_float, c_int, c_int64, c_size_t, c_uint16, c_uint32, c_uint64, c_void_p, sizeof
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import torch
from torch import Tensor

WORKSPACE_BYTES = 32 << 20
MOST_ALGORITHMS = 8
_ALIGNMENT_BYTES = 256

_COMPUTE_32F = 68
_REAL_32F = 0
_DATA_TYPES = {torch.float16: 2, torch.bfloat16: 14}
_DESCRIPTION_TRANSPOSE_A = 3
_PREFERENCE_WORKSPACE = 1
_TRANSPOSED = 1


class Setting(IntEnum):
    """Of an algorithm: cublasLtMatmulAlgoConfigAttributes_t. What options mean is not told."""

    TILE = 1
    SPLITS = 2
    REDUCTION = 3
    SWIZZLE = 4
    OPTION = 5
    CLUSTER = 8


class CublasLtError(RuntimeError):
    """A call of the library that did not succeed. `status`: cublasStatus_t."""

    def __init__(self, function: str, status: int) -> None:
        super().__init__(f"{function} gave status {status}")
        self.status = status


class _Algorithm(ctypes.Structure):
    """cublasLtMatmulAlgo_t."""

    _fields_ = (("data", c_uint64 * 8),)


class _Heuristic(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t."""

    _fields_ = (
        ("algorithm", _Algorithm),
        ("workspace_bytes", c_size_t),
        ("state", c_int),
        ("waves", c_float),
        ("reserved", c_int * 4),
    )


@dataclass(frozen=True, slots=True)
class LtShape:
    """A product out[rows, columns] = x[rows, inner] @ weight[columns, inner]^T; all of one type."""

    rows: int
    columns: int
    inner: int
    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class LtAlgorithm:
    """What the library needs to run one algorithm; it may be kept for the same version of it.

    data:  64 bytes
    """

    data: bytes

    def __post_init__(self) -> None:
        if len(self.data) != sizeof(_Algorithm):
            raise ValueError(f"an algorithm has {sizeof(_Algorithm)} bytes, not {len(self.data)}")


@dataclass(frozen=True, slots=True)
class _Description:
    """The library's handles for one shape. They live as long as the process."""

    product: c_void_p
    weight: c_void_p
    x: c_void_p
    out: c_void_p
    preference: c_void_p


class CublasLt:
    """One device's handle. Calls go to torch's current stream and can be captured.

    All products share one workspace, so they have to run one after another.
    """

    def __init__(self, library: ctypes.CDLL, device: torch.device) -> None:
        self._library = library
        self._workspace = torch.empty(WORKSPACE_BYTES, dtype=torch.uint8, device=device)
        self._descriptions: dict[LtShape, _Description] = {}
        self._handle = c_void_p()
        self.multiprocessors = torch.cuda.get_device_properties(device).multi_processor_count
        self._call("cublasLtCreate", byref(self._handle))
        library.cublasLtGetVersion.restype = c_size_t
        self.version = int(library.cublasLtGetVersion())

    @classmethod
    def open(cls, device: torch.device) -> CublasLt | None:
        """The library in this process; none where torch has not loaded one."""
        path = _loaded_library("libcublasLt.so")
        return None if path is None else cls(ctypes.CDLL(str(path)), device)

    @staticmethod
    def takes(x: Tensor, weight: Tensor) -> bool:
        """Whether the algorithms, which are chosen for aligned rows without gaps, may run these."""
        tensors = (x, weight)
        return x.dtype in _DATA_TYPES and all(
            t.is_contiguous() and t.data_ptr() % _ALIGNMENT_BYTES == 0 for t in tensors
        )

    def algorithms(self, shape: LtShape) -> list[LtAlgorithm]:
        """Up to `MOST_ALGORITHMS`, the one that the library would take first."""
        found = (_Heuristic * MOST_ALGORITHMS)()
        count = c_int()
        known = self._description(shape)
        self._call(
            "cublasLtMatmulAlgoGetHeuristic",
            self._handle,
            known.product,
            known.weight,
            known.x,
            known.out,
            known.out,
            known.preference,
            c_int(MOST_ALGORITHMS),
            found,
            byref(count),
        )
        return [
            LtAlgorithm(bytes(found[index].algorithm))
            for index in range(count.value)
            if found[index].state == 0 and found[index].workspace_bytes <= WORKSPACE_BYTES
        ]

    def changed(self, algorithm: LtAlgorithm, settings: Mapping[Setting, int]) -> LtAlgorithm | None:
        """The algorithm with other settings; none where the library does not know a value. See `runs`."""
        given = _Algorithm.from_buffer_copy(algorithm.data)
        for setting, number in settings.items():
            value = c_uint16(number) if setting is Setting.CLUSTER else c_uint32(number)
            status = self._library.cublasLtMatmulAlgoConfigSetAttribute(
                byref(given), c_int(setting), byref(value), c_size_t(sizeof(value))
            )
            if status:
                return None
        return LtAlgorithm(bytes(given))

    def runs(self, shape: LtShape, algorithm: LtAlgorithm) -> bool:
        """Whether the library can run an algorithm that was kept."""
        result = _Heuristic()
        given = _Algorithm.from_buffer_copy(algorithm.data)
        known = self._description(shape)
        status = self._library.cublasLtMatmulAlgoCheck(
            self._handle,
            known.product,
            known.weight,
            known.x,
            known.out,
            known.out,
            byref(given),
            byref(result),
        )
        return status == 0 and result.workspace_bytes <= WORKSPACE_BYTES

    def run(self, x: Tensor, weight: Tensor, out: Tensor, algorithm: LtAlgorithm) -> None:
        """out = x @ weight^T.

        x:       [rows, inner]; weight: [columns, inner]: as `takes` wants them
        out:     [rows, columns], contiguous
        """
        shape = LtShape(x.shape[0], weight.shape[0], weight.shape[1], x.dtype)
        known = self._description(shape)
        one, zero = c_float(1.0), c_float(0.0)
        given = _Algorithm.from_buffer_copy(algorithm.data)
        self._call(
            "cublasLtMatmul",
            self._handle,
            known.product,
            byref(one),
            c_void_p(weight.data_ptr()),
            known.weight,
            c_void_p(x.data_ptr()),
            known.x,
            byref(zero),
            c_void_p(out.data_ptr()),
            known.out,
            c_void_p(out.data_ptr()),
            known.out,
            byref(given),
            c_void_p(self._workspace.data_ptr()),
            c_size_t(WORKSPACE_BYTES),
            c_void_p(torch.cuda.current_stream(x.device).cuda_stream),
        )

    def _description(self, shape: LtShape) -> _Description:
        known = self._descriptions.get(shape)
        if known is None:
            known = self._descriptions[shape] = self._describe(shape)
        return known

    def _describe(self, shape: LtShape) -> _Description:
        """The library counts by columns: a row-major [rows, inner] is its inner x rows."""
        product, preference = c_void_p(), c_void_p()
        self._call("cublasLtMatmulDescCreate", byref(product), c_int(_COMPUTE_32F), c_int(_REAL_32F))
        self._set("cublasLtMatmulDescSetAttribute", product, _DESCRIPTION_TRANSPOSE_A, c_int(_TRANSPOSED))
        self._call("cublasLtMatmulPreferenceCreate", byref(preference))
        self._set(
            "cublasLtMatmulPreferenceSetAttribute",
            preference,
            _PREFERENCE_WORKSPACE,
            c_uint64(WORKSPACE_BYTES),
        )
        return _Description(
            product,
            self._layout(shape.dtype, shape.inner, shape.columns),
            self._layout(shape.dtype, shape.inner, shape.rows),
            self._layout(shape.dtype, shape.columns, shape.rows),
            preference,
        )

    def _layout(self, dtype: torch.dtype, rows: int, columns: int) -> c_void_p:
        layout = c_void_p()
        kind = c_int(_DATA_TYPES[dtype])
        size = (c_uint64(rows), c_uint64(columns), c_int64(rows))
        self._call("cublasLtMatrixLayoutCreate", byref(layout), kind, *size)
        return layout

    def _set(self, function: str, owner: c_void_p, attribute: int, value: c_int | c_uint64) -> None:
        self._call(function, owner, c_int(attribute), byref(value), c_size_t(sizeof(value)))

    def _call(self, function: str, *arguments: object) -> None:
        status = getattr(self._library, function)(*arguments)
        if status:
            raise CublasLtError(function, status)


def _loaded_library(name: str) -> Path | None:
    """The file of a shared library that this process has mapped."""
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    for line in maps.splitlines():
        path = line.partition("/")[2]
        if path and f"/{path}".rpartition("/")[2].startswith(name):
            return Path(f"/{path}")
    return None
