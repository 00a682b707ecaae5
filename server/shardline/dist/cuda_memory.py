"""Memory of this process's GPU that other processes of the host reach: inter-process memory of CUDA's driver.

torch's own ways take their time: the first allocation of `torch.distributed._symmetric_memory` took 2.5 to 3.5 s,
whatever had been used before it, where two allocations, named and mapped by both ranks, took 0.01 s here.

The functions, constants and structures are those of NVIDIA's cuda.h.
"""

from __future__ import annotations

import ctypes
from ctypes import byref, c_char_p, c_size_t, c_ubyte, c_uint, c_uint64, sizeof

_LIBRARY = "libcuda.so.1"
_LAZY_ENABLE_PEER_ACCESS = 1


class CudaError(RuntimeError):
    """A call of the driver that did not succeed. `name`: of the CUresult."""

    def __init__(self, function: str, name: str) -> None:
        super().__init__(f"{function} gave {name}")


class _Handle(ctypes.Structure):
    """CUipcMemHandle."""

    _fields_ = (("data", c_ubyte * 64),)


class CudaMemory:
    """Calls act on the GPU that is torch's current one. What they make lives as long as the process."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        # A handle goes by value, which only declared arguments do.
        library.cuIpcOpenMemHandle_v2.argtypes = (ctypes.POINTER(c_uint64), _Handle, c_uint)

    @classmethod
    def open(cls) -> CudaMemory:
        """Raises `OSError` where there is no driver."""
        return cls(ctypes.CDLL(_LIBRARY))

    def allocate(self, num_bytes: int) -> int:
        """The address of as many bytes, which are zero once the device is synchronised."""
        address = c_uint64()
        self._call("cuMemAlloc_v2", byref(address), c_size_t(num_bytes))
        self._call("cuMemsetD8_v2", address, c_ubyte(0), c_size_t(num_bytes))
        return address.value

    def name(self, address: int) -> bytes:
        """By what another process maps the memory that `allocate` gave."""
        handle = _Handle()
        self._call("cuIpcGetMemHandle", byref(handle), c_uint64(address))
        return bytes(handle.data)

    def map(self, name: bytes) -> int:
        """The address, here, of another process's memory. Raises `CudaError` where this GPU does not reach it."""
        if len(name) != sizeof(_Handle):
            raise ValueError(f"a name has {sizeof(_Handle)} bytes, not {len(name)}")
        address = c_uint64()
        handle = _Handle.from_buffer_copy(name)
        self._call("cuIpcOpenMemHandle_v2", byref(address), handle, c_uint(_LAZY_ENABLE_PEER_ACCESS))
        return address.value

    def _call(self, function: str, *arguments: object) -> None:
        code = int(getattr(self._library, function)(*arguments))
        if code:
            name = c_char_p()
            self._library.cuGetErrorName(code, byref(name))
            raise CudaError(function, (name.value or b"an unknown error").decode())
