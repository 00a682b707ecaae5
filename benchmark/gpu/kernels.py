"""Every kernel by itself, against torch and against the memory's bandwidth or the matrix rate.

    PYTHONPATH=server python benchmark/gpu/kernels.py [--out FILE]

Shapes are those of the 8b model. Inputs rotate through more memory than the cache holds, and every
time is that of a captured graph over all of them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parent))
from limits import Limits, measure_limits, seconds

from shardline.kernels import decode_attention, prefill_attention
from shardline.kernels.choice import (
    MOST_FEW_ROWS,
    Product,
    chain_for,
    default_few_rows_tile,
    default_one_row_tile,
)
from shardline.kernels.few_rows import FewRowsScratch, few_rows_product, padded_rows
from shardline.kernels.one_row import Epilogue, one_row_product
from shardline.kernels.rms_norm import rms_norm
from shardline.kernels.rotary import HeadGeometry, rope_and_write
from shardline.kernels.sampling import SamplingScratch, SamplingTable, sample
from shardline.kernels.swiglu import swiglu
from shardline.kernels.target import KernelTarget

DEVICE = torch.device("cuda")
BF16 = torch.bfloat16
HIDDEN, HEADS, KV_HEADS, DIM, INTERMEDIATE, VOCABULARY, BLOCK = 4096, 32, 8, 128, 14336, 128256, 64
COPIES = 12


@dataclass(frozen=True, slots=True)
class Row:
    """One kernel. Microseconds of ours, of torch (0: has no such operation) and of the limit."""

    kernel: str
    ours_us: float
    torch_us: float
    limit_us: float

    def line(self) -> str:
        """For people."""
        against = f"torch {self.torch_us:8.1f} us" if self.torch_us else " " * 17
        return (
            f"{self.kernel:42s} {self.ours_us:8.1f} us  {against}  limit {self.limit_us:8.1f} us  "
            f"ratio {self.limit_us / self.ours_us:.2f}"
        )


def graph_us(work: Callable[[int], object]) -> float:
    """Microseconds of one call, from a captured graph of calls over all copies of the inputs."""
    work(0)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for copy in range(COPIES):
            work(copy)
    return seconds(graph.replay, 8) / COPIES * 1e6


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, device=DEVICE, dtype=BF16)


def rows_kernels(limits: Limits, rows: int) -> list[Row]:
    x, residual = random(COPIES, rows, HIDDEN), random(COPIES, rows, HIDDEN)
    gamma, gate_up = random(HIDDEN), random(COPIES, rows, 2 * INTERMEDIATE)
    out = random(rows, INTERMEDIATE)

    def torch_norm(i: int) -> Tensor:
        residual[i].add_(x[i])
        return functional.rms_norm(residual[i], (HIDDEN,), gamma, 1e-5)

    def torch_swiglu(i: int) -> Tensor:
        gate, up = gate_up[i].chunk(2, -1)
        return functional.silu(gate) * up

    return [
        Row(
            f"residual + norm, {rows} rows",
            graph_us(lambda i: rms_norm(residual[i], gamma, 1e-5, x[i], delta=x[i])),
            graph_us(torch_norm),
            4 * rows * HIDDEN * 2 / limits.copy_bytes_s * 1e6,
        ),
        Row(
            f"swiglu, {rows} rows",
            graph_us(lambda i: swiglu(gate_up[i], out)),
            graph_us(torch_swiglu),
            3 * rows * INTERMEDIATE * 2 / limits.copy_bytes_s * 1e6,
        ),
    ]


def products(limits: Limits, rows: int) -> list[Row]:
    shapes = {
        "qkv": Product((HEADS + 2 * KV_HEADS) * DIM, HIDDEN, Epilogue.STORE),
        "o": Product(HIDDEN, HEADS * DIM, Epilogue.RESIDUAL),
        "gate_up": Product(INTERMEDIATE, HIDDEN, Epilogue.SWIGLU),
        "down": Product(HIDDEN, INTERMEDIATE, Epilogue.RESIDUAL),
    }
    return [one_product(limits, name, product, rows) for name, product in shapes.items()]


def one_product(limits: Limits, name: str, product: Product, rows: int) -> Row:
    """Against the product alone in torch, without the epilogue that ours includes."""
    target = KernelTarget.of(DEVICE)
    halves = 2 if product.epilogue is Epilogue.SWIGLU else 1
    weights = [random(halves * product.columns, product.inner) for _ in range(COPIES)]
    x, out = random(rows, product.inner), random(rows, product.columns)
    chain = chain_for(rows, MOST_FEW_ROWS, target)
    row_tile = default_one_row_tile(product)
    few_tile = default_few_rows_tile(product, padded_rows(rows), target)
    scratch = FewRowsScratch.allocate(DEVICE)

    def ours(i: int) -> None:
        if rows == 1:
            one_row_product(x, weights[i], out, row_tile, epilogue=product.epilogue, chain=chain)
            return
        few_rows_product(
            x,
            weights[i],
            out,
            few_tile,
            scratch,
            epilogue=product.epilogue,
            bulk_loads=target.bulk_loads,
            chain=chain,
        )

    return Row(
        f"{name} product, {rows} rows",
        graph_us(ours),
        graph_us(lambda i: functional.linear(x, weights[i])),
        weights[0].numel() * 2 / limits.read_bytes_s * 1e6,
    )


def attention(limits: Limits, sequences: int, context: int) -> Row:
    angles = torch.randn(16384, DIM // 2, device=DEVICE)
    geometry = HeadGeometry(HEADS, KV_HEADS, DIM, angles.cos(), angles.sin())
    target = KernelTarget.of(DEVICE)
    per = -(-context // BLOCK)
    caches = [random(sequences * per, 2, KV_HEADS, BLOCK, DIM) for _ in range(4)]
    tables = torch.randperm(sequences * per, device=DEVICE).view(sequences, per).int()
    slots = torch.arange(sequences, device=DEVICE, dtype=torch.int32)
    starts = torch.arange(sequences + 1, device=DEVICE, dtype=torch.int32)
    lengths = torch.full((sequences,), context, device=DEVICE, dtype=torch.int32)
    tile = decode_attention.choose_tile(sequences, KV_HEADS, target.multiprocessors)
    scratch = decode_attention.DecodeScratch.allocate(sequences * tile.splits, sequences, geometry, DEVICE)
    qkv, out = random(sequences, geometry.row_width), random(sequences, HEADS * DIM)

    def ours(i: int) -> None:
        decode_attention.decode_attention(
            qkv,
            caches[i % 4],
            geometry,
            tables,
            slots,
            starts,
            lengths,
            out,
            scratch,
            tile,
            scale=DIM**-0.5,
        )

    size = sequences * context * KV_HEADS * DIM * 4
    return Row(
        f"decode attention, {sequences} x {context}", graph_us(ours), 0.0, size / limits.read_bytes_s * 1e6
    )


def prefill(limits: Limits, sequences: int, tokens: int) -> Row:
    angles = torch.randn(16384, DIM // 2, device=DEVICE)
    geometry = HeadGeometry(HEADS, KV_HEADS, DIM, angles.cos(), angles.sin())
    per, total = -(-tokens // BLOCK), sequences * tokens
    cache = random(sequences * per, 2, KV_HEADS, BLOCK, DIM)
    tables = torch.arange(sequences * per, device=DEVICE).view(sequences, per).int()
    i32 = {"device": DEVICE, "dtype": torch.int32}
    slots, starts = torch.arange(sequences, **i32), torch.arange(0, total + 1, tokens, **i32)
    lengths, rows = torch.full((sequences,), tokens, **i32), torch.arange(total, **i32) // tokens
    positions = torch.arange(total, **i32) % tokens
    kv_slots = (tables[rows.long(), positions.long() // BLOCK] * BLOCK + positions % BLOCK).int()
    tile = prefill_attention.choose_tile(DIM, KernelTarget.of(DEVICE).capability)
    plan = prefill_attention.PrefillPlan.allocate(total, sequences, tile, DEVICE)
    prefill_attention.plan_tiles(starts, plan, tile)
    qkv, out = random(total, geometry.row_width), random(total, HEADS * DIM)

    def ours(_: int) -> None:
        rope_and_write(qkv, cache, geometry, starts, rows.int(), positions, kv_slots)
        prefill_attention.prefill_attention(
            qkv, cache, geometry, tables, slots, starts, lengths, plan, out, tile, scale=DIM**-0.5
        )

    heads = random(sequences, HEADS, tokens, DIM)
    keys = random(sequences, KV_HEADS, tokens, DIM)

    def in_torch(_: int) -> Tensor:
        return functional.scaled_dot_product_attention(heads, keys, keys, is_causal=True, enable_gqa=True)

    flops = 4 * HEADS * DIM * sequences * tokens * (tokens + 1) / 2
    return Row(
        f"rope, write, prefill attention, {sequences} x {tokens}",
        graph_us(ours),
        graph_us(in_torch),
        flops / limits.matmul_flop_s * 1e6,
    )


def sampling(limits: Limits, rows: int, cuts: bool) -> Row:
    logits = torch.randn(4, rows, VOCABULARY, device=DEVICE)
    numbers = torch.tensor([[0.8, 50.0, 0.95, 0.0]] if cuts else [[0.0, 0.0, 1.0, 0.0]], device=DEVICE)
    table = SamplingTable(numbers.repeat(rows, 1), torch.arange(rows, device=DEVICE))
    scratch = SamplingScratch.allocate(rows, VOCABULARY, DEVICE)
    slots = torch.arange(rows, device=DEVICE, dtype=torch.int32)
    last, tokens = torch.zeros_like(slots), torch.zeros(rows, device=DEVICE, dtype=torch.int64)
    valid = torch.zeros(rows, device=DEVICE, dtype=torch.bool)

    def ours(i: int) -> None:
        sample(logits[i % 4], slots, slots, table, scratch, last, tokens, valid, only_greedy=not cuts)

    name = "top-k 50, top-p 0.95" if cuts else "greedy"
    torch_us = 0.0 if cuts else graph_us(lambda i: logits[i % 4].argmax(-1))
    size = rows * VOCABULARY * 4
    return Row(f"sampling, {name}, {rows} rows", graph_us(ours), torch_us, size / limits.read_bytes_s * 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    limits = measure_limits()
    print(limits.line())
    rows = [row for count in (1, 100, 8192) for row in rows_kernels(limits, count)]
    rows += [row for count in (1, 8, 32, 64) for row in products(limits, count)]
    rows += [
        attention(limits, *shape)
        for shape in ((1, 640), (8, 640), (32, 640), (100, 640), (256, 640), (64, 2112))
    ]
    rows += [prefill(limits, *shape) for shape in ((16, 512), (4, 2048), (1, 8192))]
    rows += [sampling(limits, count, cuts) for count in (1, 100, 256) for cuts in (False, True)]
    for row in rows:
        print(row.line())
    if arguments.out:
        record = {"limits": asdict(limits), "kernels": [asdict(row) for row in rows]}
        arguments.out.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
