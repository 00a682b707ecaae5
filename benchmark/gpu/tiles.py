"""Tiles of our products and of decode attention, chained as in a step: one tile is changed at a time.

    PYTHONPATH=server python benchmark/gpu/tiles.py --shapes 8b,8b/2,70b/2 --rows 1,8,32

A kernel by itself picks other tiles than one whose neighbours run into it. Some layers run one after the
other from a captured graph, over more weights than the cache holds and rows of `--context` tokens; norms are left out for ranks,
whose products get rows that are normalised already. `8b/2`: what one of two ranks has. `--gigabytes`: of weights. For
more rows than our kernels serve, up to 128, the vendor's products are measured first, as in a step, with norms and SwiGLU
apart. Prints what each of the best tiles takes less than the rule's, microseconds a layer, and all the best together.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))
import shapes
from limits import measure_limits, seconds

from shardline.kernels import decode_attention
from shardline.kernels.chaining import Chain
from shardline.kernels.choice import (
    MOST_FEW_ROWS,
    Product,
    chain_for,
    default_few_rows_tile,
    default_one_row_tile,
)
from shardline.kernels.compilation import dry_run
from shardline.kernels.cublaslt import CublasLt
from shardline.kernels.decode_attention import DecodeScratch, DecodeTile
from shardline.kernels.few_rows import (
    FewRowsScratch,
    FewRowsTile,
    PreparedNorm,
    few_rows_product,
    fits,
    output_programs,
    padded_rows,
)
from shardline.kernels.library_products import LibraryProducts
from shardline.kernels.one_row import Epilogue, OneRowTile, one_row_product
from shardline.kernels.rms_norm import rms_norm
from shardline.kernels.rotary import HeadGeometry
from shardline.kernels.swiglu import swiglu
from shardline.kernels.target import KernelTarget

DEVICE = torch.device("cuda", 0)
BF16 = torch.bfloat16
COMPILING_THREADS = 14
SHARED_BYTES = 225_000
MOST_ROWS = 128
EPSILON = 1e-5
BLOCK = 64
ATTENTION = "attention"
ORDER = ("qkv", ATTENTION, "o", "gate_up", "down")
Tile = OneRowTile | FewRowsTile | DecodeTile


def products_of(name: str) -> dict[str, Product]:
    """Of a layer; `name`: a shape, and after a slash of how many ranks."""
    model, _, ranks = name.partition("/")
    shape, parts = shapes.SHAPES[model], int(ranks or 1)
    output = Epilogue.PARTIAL if ranks else Epilogue.RESIDUAL
    heads, inner = shape.heads * shape.head_dim // parts, shape.intermediate // parts
    qkv = heads + 2 * shape.kv_heads * shape.head_dim // parts
    return {
        "qkv": Product(qkv, shape.hidden, Epilogue.STORE),
        "o": Product(shape.hidden, heads, output),
        "gate_up": Product(inner, shape.hidden, Epilogue.SWIGLU),
        "down": Product(shape.hidden, inner, output),
    }


def one_row_tiles(product: Product) -> Iterator[Tile]:
    """Even ones, of 8 to 128 weights a thread."""
    for columns, depth, warps in itertools.product((1, 2, 4, 8), (512, 1024, 2048, 4096), (1, 2, 4, 8)):
        even = product.inner % depth == 0 and product.columns % columns == 0
        if even and 8 <= columns * depth // (32 * warps) <= 128:
            yield OneRowTile(columns, depth, warps)


def few_rows_tiles(product: Product, rows: int) -> Iterator[Tile]:
    """Even ones that fill a card up to four times and whose buffers fit in a multiprocessor.

    Of many rows wide ones in small steps: each program reads all rows, and needs buffers for them.
    """
    gated = product.epilogue is Epilogue.SWIGLU
    many = rows > MOST_FEW_ROWS
    for columns, depth, splits, stages, warps in itertools.product(
        (64, 128, 256) if many else (32, 64, 128),
        (64, 128) if many else (128, 256),
        (1, 2, 4, 8) if many else (1, 2, 4),
        (2, 3, 4, 5, 6),
        (4, 8),
    ):
        tile = FewRowsTile(columns, depth, splits, stages, warps)
        buffers = stages * ((2 if gated else 1) * columns + padded_rows(rows)) * depth * BF16.itemsize
        even = product.inner % (depth * splits) == 0 and product.columns % columns == 0
        programs = product.columns // columns * splits
        usable = even and not (gated and splits > 1) and product.inner // splits >= 1024
        usable = usable and (warps == 4 or columns >= 128) and not (warps == 4 and columns == 256)
        usable = usable and 56 <= programs <= 528 and 60_000 < buffers < SHARED_BYTES
        if usable and fits(product.columns, rows, product.epilogue, tile):
            yield tile


def attention_tiles() -> Iterator[Tile]:
    """Of any number of rows: a part has two tiles or more."""
    for keys, splits, stages, warps in itertools.product(
        (16, 32, 64), (1, 2, 3, 4, 6, 8), (2, 3, 4), (1, 2, 4)
    ):
        yield DecodeTile(keys, splits, 2, stages, warps, preload=False)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one token each after `context - 1` known ones, in pages of their own."""

    geometry: HeadGeometry
    tables: Tensor
    slots: Tensor
    starts: Tensor
    lengths: Tensor
    caches: list[Tensor]
    scratch: DecodeScratch

    @classmethod
    def make(cls, name: str, rows: int, context: int, layers: int) -> Rows:
        model, _, ranks = name.partition("/")
        shape, parts = shapes.SHAPES[model], int(ranks or 1)
        angles = torch.randn(context, shape.head_dim // 2, device=DEVICE)
        kv_heads, pages = shape.kv_heads // parts, -(-context // BLOCK)
        geometry = HeadGeometry(shape.heads // parts, kv_heads, shape.head_dim, angles.cos(), angles.sin())
        i32 = {"device": DEVICE, "dtype": torch.int32}
        page = (rows * pages, 2, kv_heads, BLOCK, shape.head_dim)
        return cls(
            geometry,
            torch.randperm(rows * pages, device=DEVICE).view(rows, pages).int(),
            torch.arange(rows, **i32),
            torch.arange(rows + 1, **i32),
            torch.full((rows,), context, **i32),
            [torch.randn(page, device=DEVICE, dtype=BF16) for _ in range(layers)],
            DecodeScratch.allocate(16 * rows, rows, geometry, DEVICE),
        )


@dataclass(frozen=True, slots=True)
class Layers:
    """Weights of some layers, and what goes in and comes out, by product. `attended`: the rows' caches.

    `sums`: by their number, what products leave for norms.
    """

    products: dict[str, Product]
    weights: dict[str, list[Tensor]]
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    gamma: Tensor
    scratch: FewRowsScratch
    target: KernelTarget
    rows: int
    with_norms: bool
    attended: Rows
    sums: dict[int, Tensor] = field(default_factory=dict)

    @classmethod
    def make(cls, name: str, rows: int, context: int, weight_bytes: int) -> Layers:
        products = products_of(name)
        halves = {key: 2 if p.epilogue is Epilogue.SWIGLU else 1 for key, p in products.items()}
        layer_bytes = sum(halves[key] * p.columns * p.inner for key, p in products.items()) * BF16.itemsize
        count = max(2, weight_bytes // layer_bytes)

        def random(*shape: int) -> Tensor:
            return torch.randn(*shape, device=DEVICE, dtype=BF16)

        return cls(
            products,
            {
                key: [random(halves[key] * p.columns, p.inner) for _ in range(count)]
                for key, p in products.items()
            },
            {key: random(rows, p.inner) for key, p in products.items()},
            {key: random(rows, p.columns) for key, p in products.items()},
            random(products["o"].columns),
            FewRowsScratch.allocate(DEVICE),
            KernelTarget.of(DEVICE),
            rows,
            "/" not in name,
            Rows.make(name, rows, context, count),
        )

    @property
    def chain(self) -> Chain:
        """Of our kernels."""
        return chain_for(self.rows, MOST_ROWS, self.target, self.products["o"].columns)

    @property
    def count(self) -> int:
        return len(self.weights["qkv"])

    @property
    def layer_bytes(self) -> int:
        weights = sum(weights[0].numel() for weights in self.weights.values())
        return (weights + self.attended.caches[0].numel()) * BF16.itemsize

    def size(self, key: str) -> str:
        """For people."""
        if key == ATTENTION:
            return f"{self.rows} x {int(self.attended.lengths[0])}"
        return f"{self.products[key].columns} x {self.products[key].inner}"

    def default_tile(self, key: str) -> Tile:
        if key == ATTENTION:
            kv_heads = self.attended.geometry.num_kv_heads
            return decode_attention.choose_tile(self.rows, kv_heads, self.target.multiprocessors)
        if self.rows == 1:
            return default_one_row_tile(self.products[key])
        if self.rows > MOST_FEW_ROWS:
            return self.tiles(key)[0]  # There is no rule.
        return default_few_rows_tile(self.products[key], padded_rows(self.rows), self.target)

    def tiles(self, key: str) -> list[Tile]:
        if key == ATTENTION:
            return list(attention_tiles())
        product = self.products[key]
        return list(one_row_tiles(product) if self.rows == 1 else few_rows_tiles(product, self.rows))

    def run(self, tiles: dict[str, Tile], count: int) -> None:
        """The kernels of `count` layers."""
        notes: dict[str, PreparedNorm] = {}
        for layer in range(count):
            for key in ORDER:
                if key == ATTENTION:
                    self.attend(layer, tiles[key])
                else:
                    self._product(key, layer, tiles[key], notes)

    def attend(self, layer: int, tile: Tile, chain: Chain | None = None) -> None:
        """Decode attention of a layer. `chain`: none: as our products have it."""
        assert isinstance(tile, DecodeTile)
        rows = self.attended
        decode_attention.decode_attention(
            self.outputs["qkv"],
            rows.caches[layer],
            rows.geometry,
            rows.tables,
            rows.slots,
            rows.starts,
            rows.lengths,
            self.inputs["o"],
            rows.scratch,
            tile,
            scale=rows.geometry.head_dim**-0.5,
            chain=self.chain if chain is None else chain,
        )

    def _product(self, key: str, layer: int, tile: Tile, notes: dict[str, PreparedNorm]) -> None:
        product, weight = self.products[key], self.weights[key][layer]
        x, out = self.inputs[key], self.outputs[key]
        normalises = self.with_norms and key in ("qkv", "gate_up")
        if isinstance(tile, OneRowTile):
            gamma = self.gamma if normalises else None
            one_row_product(
                x, weight, out, tile, epilogue=product.epilogue, gamma=gamma, eps=EPSILON, chain=self.chain
            )
            return
        prepared = None
        if self.with_norms and not normalises:
            sums = self._sums(output_programs(product.columns, tile))
            follower = "gate_up" if key == "o" else "qkv"
            prepared = notes[follower] = PreparedNorm(self.inputs[follower], sums)
        few_rows_product(
            x,
            weight,
            out,
            tile,
            self.scratch,
            epilogue=product.epilogue,
            square_sums=notes[key].square_sums if key in notes else None,
            eps=EPSILON,
            next_gamma=None if prepared is None else self.gamma,
            prepared=prepared,
            bulk_loads=self.target.bulk_loads,
            chain=self.chain,
        )

    def _sums(self, programs: int) -> Tensor:
        """f32[rows, programs] of ones; no kernel of a captured layer makes it."""
        if programs not in self.sums:
            self.sums[programs] = torch.ones(self.rows, programs, device=DEVICE)
        return self.sums[programs]

    def layer_us(self, tiles: dict[str, Tile]) -> float:
        """Microseconds of a layer's kernels, from a captured graph."""
        return self.captured_us(lambda count: self.run(tiles, count))

    def library(self) -> LibraryProducts:
        """The vendor's products, the fastest of those it offers."""
        library = LibraryProducts(CublasLt.open(DEVICE))
        for weights in self.weights.values():
            for weight in weights:
                library.note(weight)
        for shape in library.unmeasured([self.rows]):
            library.measure(shape)
        return library

    def run_library(self, library: LibraryProducts, count: int) -> None:
        """`run` with the vendor's products, and kernels of ours between them."""
        attention = self.default_tile(ATTENTION)
        for layer in range(count):
            for key in ORDER:
                if key == ATTENTION:
                    self.attend(layer, attention, Chain.OFF)
                    continue
                delta = library.product(self.inputs[key], self.weights[key][layer], None)
                if key == "gate_up":
                    swiglu(delta, self.outputs[key])
                elif key != "qkv" and self.with_norms:
                    rms_norm(self.outputs["o"], self.gamma, EPSILON, delta, delta=delta)

    def captured_us(self, run: Callable[[int], None]) -> float:
        """Microseconds of a layer; `run`: the kernels of so many layers."""
        run(1)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run(self.count)
        return seconds(graph.replay, 8) / self.count * 1e6


def numbers(tile: Tile) -> str:
    """For people: the launch shape as its numbers."""
    values = (getattr(tile, name) for name in tile.__dataclass_fields__)
    return "/".join(str(value) for value in values if value is not None)


def sweep(name: str, rows: int, layers: Layers) -> None:
    rule = {key: layers.default_tile(key) for key in ORDER}
    candidates = {key: layers.tiles(key) for key in ORDER}
    with dry_run(DEVICE, COMPILING_THREADS):
        for key in ORDER:
            for tile in (rule[key], *candidates[key]):
                layers.run({**rule, key: tile}, 1)
    if rows > MOST_FEW_ROWS:
        library = layers.library()
        us = layers.captured_us(lambda count: layers.run_library(library, count))
        print(f"{name}, {rows} rows: {us:.2f} us a layer by the vendor's products", flush=True)
    before = layers.layer_us(rule)
    rate = layers.layer_bytes / before / 1e6
    print(f"{name}, {rows} rows: {before:.2f} us a layer, {rate:.2f} TB/s", flush=True)
    best = dict(rule)
    for key in ORDER:
        found = sorted(
            ((layers.layer_us({**rule, key: tile}) - before, tile) for tile in candidates[key]),
            key=lambda pair: pair[0],
        )
        shown = ", ".join(f"{numbers(tile)} {change:+.2f}" for change, tile in found[:5])
        print(f"  {key} {layers.size(key)}, rule {numbers(rule[key])}: {shown}", flush=True)
        if found and found[0][0] < 0:
            best[key] = found[0][1]
    after = layers.layer_us(best)
    print(f"  the best together {after:.2f} us, {layers.layer_bytes / after / 1e6:.2f} TB/s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", default="8b,8b/2,70b/2")
    parser.add_argument("--rows", default="1")
    parser.add_argument("--context", type=int, default=640)
    parser.add_argument("--gigabytes", type=int, default=4)
    arguments = parser.parse_args()
    torch.cuda.set_device(DEVICE)
    print(measure_limits().line(), flush=True)
    for name in arguments.shapes.split(","):
        for rows in map(int, arguments.rows.split(",")):
            sweep(name, rows, Layers.make(name, rows, arguments.context, arguments.gigabytes << 30))
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
