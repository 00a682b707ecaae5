"""Bytes of files on their way to a device: read by a few threads, each into buffers of its own.

One thread reads about 5 GB/s from the page cache, a card takes ten times that; a file system
without a page cache wants many requests under way. Each thread owns two buffers: while one is
copied to the device in the thread's stream, the other one is read into. Only `pread` touches the
files, so a file that shrinks or a disk that fails is an error and not a signal.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from shardline.weights.source import WeightError

BUFFER_BYTES = 16 << 20
NARROW_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Span:
    """Rows of equal length in a file: row `i` is the bytes [offset + i * stride, … + width).

    file    | skipped | row 0 | skipped | skipped | row 1 | skipped |
                      ^ offset            offset + stride ^
    """

    descriptor: int
    path: Path
    offset: int
    rows: int
    width: int
    stride: int

    def cut(self, limit_bytes: int, element_bytes: int) -> list[Span]:
        """Pieces of at most `limit_bytes` (of the file, where rows are narrow), in their order."""
        if self.rows == 1:
            step = max(1, limit_bytes // element_bytes) * element_bytes
            return [
                Span(self.descriptor, self.path, self.offset + at, 1, width, width)
                for at in range(0, self.width, step)
                for width in (min(step, self.width - at),)
            ]
        row_bytes = self.stride if self.width < NARROW_BYTES else self.width
        if row_bytes > limit_bytes:
            rows = (self._rows(row, 1) for row in range(self.rows))
            return [piece for row in rows for piece in row.cut(limit_bytes, element_bytes)]
        step = limit_bytes // row_bytes
        return [self._rows(row, min(step, self.rows - row)) for row in range(0, self.rows, step)]

    def _rows(self, first: int, count: int) -> Span:
        offset = self.offset + first * self.stride
        return Span(self.descriptor, self.path, offset, count, self.width, self.stride)

    @property
    def bytes(self) -> int:
        """Of all rows."""
        return self.rows * self.width

    def read(self, target: memoryview, spare: memoryview) -> None:
        """The rows one after another into `target`; `spare`: room for narrow rows with what is between."""
        if self.rows == 1 or self.width == self.stride:
            self._read(target[: self.bytes], self.offset)
        elif self.width < NARROW_BYTES:
            # One read of everything costs less than a call for each row.
            whole = (self.rows - 1) * self.stride + self.width
            self._read(spare[:whole], self.offset)
            rows = torch.frombuffer(spare, dtype=torch.uint8, count=whole).as_strided(
                (self.rows, self.width), (self.stride, 1)
            )
            torch.frombuffer(target, dtype=torch.uint8, count=self.bytes).view(self.rows, -1).copy_(rows)
        else:
            for row in range(self.rows):
                piece = target[row * self.width : (row + 1) * self.width]
                self._read(piece, self.offset + row * self.stride)

    def _read(self, target: memoryview, offset: int) -> None:
        while target:
            try:
                count = os.preadv(self.descriptor, [target], offset)
            except OSError as error:
                raise WeightError(f"{self.path} cannot be read at byte {offset}: {error.strerror}") from error
            if not count:
                raise WeightError(f"{self.path} is cut off: it ends at byte {offset}; download it again")
            target, offset = target[count:], offset + count


class _Lane:
    """What one thread owns: two buffers, a stream, and when each buffer is free again."""

    def __init__(self, device: torch.device) -> None:
        on_gpu = device.type == "cuda"
        self._device = device
        self._buffers = [torch.empty(BUFFER_BYTES, dtype=torch.uint8, pin_memory=on_gpu) for _ in range(2)]
        self._views = [memoryview(buffer.numpy().data) for buffer in self._buffers]
        self._spare: memoryview | None = None
        self._stream = torch.cuda.Stream(device) if on_gpu else None
        self._free: list[torch.cuda.Event | None] = [None, None]
        self._turn = 0

    def carry(
        self, span: Span, dtype: torch.dtype, destination: Tensor, after: torch.cuda.Event | None
    ) -> None:
        """One piece; it has arrived when `wait` returns."""
        turn = self._turn = 1 - self._turn
        free = self._free[turn]
        if free is not None:
            free.synchronize()
        span.read(self._views[turn], self._spare_view(span))
        source = self._buffers[turn][: span.bytes].view(dtype)
        if self._stream is None:
            destination.copy_(source)
            return
        with torch.cuda.stream(self._stream):
            if after is not None:
                self._stream.wait_event(after)
            if destination.dtype != dtype:
                # The conversion is the device's: on the host it would cost more than the copy.
                source = source.to(self._device, non_blocking=True)
            destination.copy_(source, non_blocking=True)
            event = torch.cuda.Event()
            event.record(self._stream)
        self._free[turn] = event

    def _spare_view(self, span: Span) -> memoryview:
        if span.rows == 1:
            return self._views[0]
        if self._spare is None:
            self._spare = memoryview(bytearray(BUFFER_BYTES))
        return self._spare

    def wait(self) -> None:
        """Returns when everything carried has arrived."""
        for event in self._free:
            if event is not None:
                event.synchronize()


class Transfer:
    """Carries spans of files into tensors of one device by `threads` threads."""

    def __init__(self, device: torch.device, threads: int) -> None:
        self._device = device
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._local = threading.local()
        self._lanes: list[_Lane] = []
        self._pending: list[Future[None]] = []

    def start(self, span: Span, dtype: torch.dtype, destination: Tensor) -> None:
        """`destination`: contiguous, as many elements of its own type as the span has of `dtype`."""
        if not span.bytes:
            return
        after = None
        if self._device.type == "cuda":
            # The memory may have had another use, which the caller's stream is still busy with.
            after = torch.cuda.Event()
            after.record(torch.cuda.current_stream(self._device))
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="weights")
        flat, at = destination.view(-1), 0
        for piece in span.cut(BUFFER_BYTES, dtype.itemsize):
            count = piece.bytes // dtype.itemsize
            target = flat[at : at + count]
            self._pending.append(self._pool.submit(self._carry, piece, dtype, target, after))
            at += count

    def finish(self) -> None:
        """Returns when all spans have arrived, or raises what the first one failed with."""
        if self._pool is None:
            return
        try:
            for pending in self._pending:
                pending.result()
            for lane in self._lanes:
                lane.wait()
        finally:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
            self._pending.clear()
            self._lanes.clear()
            self._local = threading.local()

    def _carry(self, piece: Span, dtype: torch.dtype, target: Tensor, after: torch.cuda.Event | None) -> None:
        lane: _Lane | None = getattr(self._local, "lane", None)
        if lane is None:
            if self._device.type == "cuda":
                torch.cuda.set_device(self._device)
            lane = self._local.lane = _Lane(self._device)
            self._lanes.append(lane)
        lane.carry(piece, dtype, target, after)
