"""What it would give to fetch weights into the L2 cache while norms and SwiGLU leave the memory idle.

    PYTHONPATH=server python benchmark/gpu/fetch_ahead.py --shapes 8b,8b/2,70b/2 --rows 100 --bytes 0,128,256,512

Layers as a step of many rows has them: the vendor's products, measured, with norms, SwiGLU and decode attention
between them. Beside each norm and each SwiGLU, a branch of the graph fetches the beginning of every row of the next
product's weights, `--bytes` of it: all programs of a product begin there. Prints microseconds a layer; 0: without.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
import triton
import triton.language as tl
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))
from limits import measure_limits
from tiles import ATTENTION, DEVICE, EPSILON, Layers

from shardline.kernels.chaining import Chain
from shardline.kernels.rms_norm import rms_norm
from shardline.kernels.swiglu import swiglu

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


class FetchingLayers:
    """Layers whose products' weights are fetched ahead."""

    def __init__(self, layers: Layers, num_bytes: int) -> None:
        self._layers = layers
        self._num_bytes = num_bytes
        self._library = layers.library()
        self._attention = layers.default_tile(ATTENTION)
        self._branch = torch.cuda.Stream(DEVICE)

    def run(self, count: int) -> None:
        """The kernels of `count` layers."""
        layers, weights = self._layers, self._layers.weights
        residual, gamma = layers.outputs["o"], layers.gamma
        for layer in range(count):
            self._product("qkv", layer)
            layers.attend(layer, self._attention, Chain.OFF)
            delta = self._product("o", layer)
            self._fetch(weights["gate_up"][layer])
            rms_norm(residual, gamma, EPSILON, delta, delta=delta)
            wide = self._product("gate_up", layer)
            self._fetch(weights["down"][layer])
            swiglu(wide, layers.outputs["gate_up"])
            delta = self._product("down", layer)
            self._fetch(weights["qkv"][(layer + 1) % layers.count])
            rms_norm(residual, gamma, EPSILON, delta, delta=delta)
        torch.cuda.current_stream().wait_stream(self._branch)

    def _product(self, key: str, layer: int) -> Tensor:
        return self._library.product(self._layers.inputs[key], self._layers.weights[key][layer], None)

    def _fetch(self, weight: Tensor) -> None:
        """Beside what is launched next."""
        if self._num_bytes:
            self._branch.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._branch):
                fetch(weight, self._num_bytes)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", default="8b,8b/2,70b/2")
    parser.add_argument("--rows", default="100")
    parser.add_argument(
        "--bytes", default="0,128,256,512,1024", help="of each row of weights; multiples of 16"
    )
    parser.add_argument("--context", type=int, default=640)
    parser.add_argument("--gigabytes", type=int, default=4)
    arguments = parser.parse_args()
    torch.cuda.set_device(DEVICE)
    print(measure_limits().line(), flush=True)
    for name in arguments.shapes.split(","):
        for rows in map(int, arguments.rows.split(",")):
            layers = Layers.make(name, rows, arguments.context, arguments.gigabytes << 30)
            found = []
            for num_bytes in map(int, arguments.bytes.split(",")):
                us = layers.captured_us(FetchingLayers(layers, num_bytes).run)
                found.append(f"{num_bytes} bytes {us:.2f}")
            print(f"{name}, {rows} rows, us a layer: {', '.join(found)}", flush=True)
            del layers
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
