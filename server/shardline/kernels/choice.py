"""How each product is computed: by which kernel, in which tiles.

The rules here are what measurements on one card gave.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import triton

from shardline.kernels.chaining import Chain
from shardline.kernels.few_rows import FewRowsTile, padded_rows
from shardline.kernels.one_row import Epilogue, OneRowTile
from shardline.kernels.target import KernelTarget

MOST_FEW_ROWS = 64
MOST_CHAINED_WIDTH = 4096
_SPLIT_COLUMNS = 16384


class Way(Enum):
    """The kinds of kernels that a product can take."""

    ONE_ROW = "one_row"
    FEW_ROWS = "few_rows"
    LIBRARY = "library"


@dataclass(frozen=True, slots=True)
class Product:
    """A product's shape: output columns (of one half for SwiGLU), inner dimension, epilogue."""

    columns: int
    inner: int
    epilogue: Epilogue

    @property
    def key(self) -> str:
        """A name for files."""
        return f"{self.columns}x{self.inner}-{self.epilogue.name.lower()}"


def chain_for(rows: int, most_few_rows: int, target: KernelTarget, width: int = 0) -> Chain:
    """When kernels of a step with `rows` rows release their successors.

    Measured: early pays for one row, late for few; nothing pays beside library kernels. Products of one row that is 8,192 wide (`width`: of the residual
    stream) read slower beside a successor that loads ahead: a step of the 70b shape took 22.5 ms chained, 18.2 apart.
    """
    if not target.chained_launch or rows > most_few_rows:
        return Chain.OFF
    if rows == 1:
        return Chain.EARLY if width <= MOST_CHAINED_WIDTH else Chain.OFF
    return Chain.LATE


class Choices:
    """The choice of every product; asked at each call; a caller may set its own in place of the rule."""

    def __init__(self, target: KernelTarget) -> None:
        self._target = target
        self._one_row: dict[Product, OneRowTile] = {}
        self._few_rows: dict[tuple[Product, int], FewRowsTile] = {}
        self._ways: dict[tuple[Product, int], Way] = {}
        self.most_few_rows = MOST_FEW_ROWS

    def way(self, product: Product, rows: int) -> Way:
        """Which kernel computes the product."""
        if rows > self.most_few_rows:
            return Way.LIBRARY
        if rows == 1:
            return Way.ONE_ROW
        return self._ways.get((product, padded_rows(rows)), Way.FEW_ROWS)

    def one_row_tile(self, product: Product) -> OneRowTile:
        """The tile of a one-row product."""
        tile = self._one_row.get(product)
        if tile is None:
            tile = self._one_row[product] = default_one_row_tile(product)
        return tile

    def few_rows_tile(self, product: Product, rows: int) -> FewRowsTile:
        """The tile of a few-row product."""
        key = (product, padded_rows(rows))
        tile = self._few_rows.get(key)
        if tile is None:
            tile = self._few_rows[key] = default_few_rows_tile(product, key[1], self._target)
        return tile

    def set_one_row(self, product: Product, tile: OneRowTile) -> None:
        """Sets a tile in place of the rule's."""
        self._one_row[product] = tile

    def set_few_rows(self, product: Product, rows_block: int, way: Way, tile: FewRowsTile) -> None:
        """Sets way and tile for up to `rows_block` rows in place of the rule's."""
        self._ways[(product, rows_block)] = way
        self._few_rows[(product, rows_block)] = tile


def default_one_row_tile(product: Product) -> OneRowTile:
    """Enough programs to fill a card a few times over, 16-byte loads, 32 to 64 weights a thread."""
    columns, inner = product.columns, product.inner
    if product.epilogue is Epilogue.SWIGLU:
        if inner >= 4096:
            return OneRowTile(2, _largest_depth(inner, 4096), 8)
        return OneRowTile(4, _largest_depth(inner, 512), 2, 128)
    if columns >= 32768:
        depth = _largest_depth(inner, 4096)
        return OneRowTile(2 if depth == 4096 else 4, depth, 4)
    if product.epilogue in (Epilogue.RESIDUAL, Epilogue.PARTIAL):
        return _output_tile(columns, inner)
    return OneRowTile(2, _largest_depth(inner, 1024), 2 if inner >= 4096 else 1)


def _output_tile(columns: int, inner: int) -> OneRowTile:
    """Of the products that are added to the residual stream."""
    if columns < 4096:
        return OneRowTile(4, _largest_depth(inner, 2048), 2 if inner >= 2 * columns else 4)
    if inner < 4096:
        return OneRowTile(4, _largest_depth(inner, 1024), 4)
    return OneRowTile(8, _largest_depth(inner, 1024), 4 if inner >= 2 * columns or inner > 8192 else 2)


def default_few_rows_tile(product: Product, rows_block: int, target: KernelTarget) -> FewRowsTile:
    """64 columns a program; the inner dimension split where the programs would not fill the card."""
    columns, inner = product.columns, product.inner
    if columns * inner < 1 << 22:
        return FewRowsTile(16, _largest_depth(inner, 128), 1, 4, 4)
    modern = target.capability >= (9, 0)
    wide = columns >= 32768 and rows_block != 32 and modern
    width = 128 if wide else 64
    depth = _largest_depth(inner, (256 if rows_block <= 32 else 128) if modern else 64)
    programs = triton.cdiv(columns, width)
    if product.epilogue is Epilogue.SWIGLU or columns >= 32768:
        stages = 4 if programs <= target.multiprocessors else (3 if rows_block == 16 else 2)
        return FewRowsTile(width, min(depth, 128), 1, stages if modern else 3, 8 if wide else 4)
    splits = 1
    # Up to 32 rows a split pays for what its parts cost only in a long sum, up to 16 only where less than
    # half of the card would be busy.
    few = rows_block == 16 and programs >= 0.45 * target.multiprocessors
    splittable = (inner > 4096 and not few) or rows_block > 32 or not modern
    while (
        splittable
        and splits < 4
        and programs * splits < 0.7 * target.multiprocessors
        and (inner // (2 * splits) >= 2048)
    ):
        splits *= 2
    if not modern:
        return FewRowsTile(width, depth, splits, 3, 4)
    if splits > 1:
        return FewRowsTile(width, depth, splits, 3 if rows_block == 32 else 4, 4)
    if rows_block == 16 and product.epilogue in (Epilogue.RESIDUAL, Epilogue.PARTIAL):
        return FewRowsTile(width, depth, 1, 5, 4)
    return FewRowsTile(width, depth, 1, 4 if rows_block <= 32 else 6, 4)


def _largest_depth(inner: int, limit: int) -> int:
    """The largest power of two up to `limit` that divides `inner`, or one that covers it."""
    depth = limit
    while depth > 16 and inner % depth:
        depth //= 2
    if depth >= 64:
        return depth
    return min(limit, triton.next_power_of_2(inner))
