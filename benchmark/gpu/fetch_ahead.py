"""What it would give to fetch weights into the L2 cache while norms and SwiGLU leave the memory idle.

    PYTHONPATH=server python benchmark/gpu/fetch_ahead.py --shapes 8b,8b/2,70b/2 --rows 100 --bytes 0,128,256,512

Layers as a step of many rows has them: the vendor's products, measured, with norms, SwiGLU and decode attention
between them. Beside each norm and each SwiGLU, a branch of the graph fetches the beginning of every row of the next
product's weights, `--bytes` of it: all programs of a product begin there. Prints microseconds a layer; 0: without.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

import torch
import triton
import triton.language as tl
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))
from tiles import DEVICE, Layers, add_arguments, for_each

PROGRAM_ROWS = 256


@triton.jit
def _fetch_kernel(weight, rows, row_bytes, BYTES: tl.constexpr, ROWS: tl.constexpr):
    """The first BYTES of each row, by bulk prefetches, one a row. PTX ISA 8.0, capability 9.0."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    address = weight.to(tl.int64, bitcast=True) + tl.minimum(row, rows - 1).to(tl.int64) * row_bytes
    tl.inline_asm_elementwise(
        "cp.async.bulk.prefetch.L2.global [$1], $2; mov.u32 $0, 0;",
        "=r,l,r",
        [address, tl.full((ROWS,), BYTES, tl.int32)],
        dtype=tl.int32,
        is_pure=False,
        pack=1,
    )


def fetch(weight: Tensor, num_bytes: int) -> None:
    """Asks for the beginning of every row of [rows, inner]; returns before it is there, as the kernel does."""
    rows = weight.shape[0]
    _fetch_kernel[(triton.cdiv(rows, PROGRAM_ROWS),)](
        weight,
        rows,
        weight.stride(0) * weight.element_size(),
        BYTES=num_bytes,
        ROWS=PROGRAM_ROWS,
        num_warps=8,
    )


def compare(name: str, rows: int, layers: Layers, sizes: list[int]) -> None:
    """Prints a layer's time with so many bytes of every row fetched."""
    library, branch = layers.library(), torch.cuda.Stream(DEVICE)

    def run(count: int, num_bytes: int) -> None:
        def beside(weight: Tensor) -> None:
            if num_bytes:
                branch.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(branch):
                    fetch(weight, num_bytes)

        layers.run_library(library, count, norms=True, ahead=beside)
        if num_bytes:
            torch.cuda.current_stream().wait_stream(branch)

    found = [f"{size} bytes {layers.captured_us(partial(run, num_bytes=size)):.2f}" for size in sizes]
    print(f"{name}, {rows} rows, us a layer: {', '.join(found)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser, rows="100")
    parser.add_argument(
        "--bytes", default="0,128,256,512,1024", help="of each row of weights; multiples of 16"
    )
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.bytes.split(",")]
    for_each(arguments, partial(compare, sizes=sizes))


if __name__ == "__main__":
    main()
