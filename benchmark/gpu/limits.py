"""What the card gives, measured: reading, copying, multiplying. On random data.

    python benchmark/gpu/limits.py 2

prints a line of JSON for each of two cards, with what each multiplies when it goes on.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
import triton
import triton.language as tl

_PRODUCT_FLOP = 2 * 8192**3
_IN_A_ROW = 20


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes and floating-point operations a second. A copy counts bytes read and written."""

    device: str
    read_bytes_s: float
    copy_bytes_s: float
    matmul_flop_s: float

    def of_cards(self, count: int) -> Limits:
        """What so many cards give together."""
        return Limits(
            self.device if count == 1 else f"{count} x {self.device}",
            count * self.read_bytes_s,
            count * self.copy_bytes_s,
            count * self.matmul_flop_s,
        )

    def line(self) -> str:
        """For people."""
        return (
            f"{self.device}: read {self.read_bytes_s / 1e12:.2f} TB/s, copy {self.copy_bytes_s / 1e12:.2f} TB/s, "
            f"bf16 matmul {self.matmul_flop_s / 1e12:.0f} TFLOP/s"
        )


@triton.jit
def _read_kernel(source, out, BLOCK: tl.constexpr, STEPS: tl.constexpr):
    start = source + tl.program_id(0).to(tl.int64) * BLOCK * STEPS
    total = tl.zeros((BLOCK,), tl.int32)
    for step in range(STEPS):
        total += tl.load(start + step * BLOCK + tl.arange(0, BLOCK))
    tl.store(out + tl.program_id(0), tl.sum(total, 0))


def seconds(work: Callable[[], object], repeats: int = 10) -> float:
    """Median time of one call on the device, after a warm-up."""
    work()
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return statistics.median(times)


def measure_limits() -> Limits:
    """Takes about a second; leaves no memory behind."""
    read, copy = _memory()
    matmul = _matmul()
    torch.cuda.empty_cache()
    return Limits(torch.cuda.get_device_name(), read, copy, matmul)


def _memory() -> tuple[float, float]:
    """Bytes a second of reading alone and of copying, over 4 GiB."""
    x = torch.randint(-1000, 1000, (1 << 30,), dtype=torch.int32, device="cuda")
    y = torch.empty_like(x)
    block, steps = 8192, 8
    programs = x.numel() // (block * steps)
    read = seconds(lambda: _read_kernel[(programs,)](x, y, block, steps, num_warps=8))
    return 4 * x.numel() / read, 8 * x.numel() / seconds(lambda: y.copy_(x))


def _matmul() -> float:
    """Floating-point operations a second of a large product."""
    return _PRODUCT_FLOP / seconds(_product(), 20)


def sustained_matmul() -> float:
    """The same in the second second of nothing else, when the card is at its power limit."""
    work, times, began = _product(), [], time.monotonic()
    while (start := time.monotonic()) - began < 2:
        for _ in range(_IN_A_ROW):
            work()
        torch.cuda.synchronize()
        if start - began >= 1:
            times.append(time.monotonic() - start)
    return _PRODUCT_FLOP * _IN_A_ROW / statistics.mean(times)


def _product() -> Callable[[], object]:
    a, b = (torch.randn(8192, 8192, dtype=torch.bfloat16, device="cuda") for _ in range(2))
    out = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=out)


def main() -> None:
    for card in range(int(sys.argv[1])):
        torch.cuda.set_device(card)
        print(json.dumps({**asdict(measure_limits()), "sustained_flop_s": sustained_matmul()}))


if __name__ == "__main__":
    main()
