"""Tiles of the vendor's products of which the card computes full rounds.

A product is cut into tiles, and each multiprocessor computes one at a time: 133 tiles take a card of 132 as long
as 264 do. cuBLASLt's own offers are often of such a kind. Measured on an H200, tiles that come out even make products of
192 rows 6 % faster than the best of the eight that it offers, of 256 rows 3 to 7 %, of 384 rows 1 to 3 %.
"""

from __future__ import annotations

from dataclasses import dataclass

# cublasLtMatmulTile_t: tiles of 64 and of 128 rows of x, by how many columns of the product they have.
_IDS_OF_64 = {
    **{48: 92, 56: 104, 64: 15, 72: 124, 80: 134, 88: 143, 96: 27, 104: 157, 112: 164, 120: 170, 128: 18},
    **{136: 178, 144: 183, 152: 188, 160: 193, 168: 196, 176: 200, 184: 204, 192: 208, 200: 211, 208: 214},
    **{216: 217, 224: 220, 232: 223, 240: 226, 248: 229, 256: 21, 264: 233, 272: 235, 280: 237, 288: 239},
    **{296: 241, 304: 243, 312: 245, 320: 247},
}
_IDS_OF_128 = {
    **{48: 93, 56: 105, 64: 17, 72: 125, 80: 135, 88: 144, 96: 28, 104: 158, 112: 165, 120: 171, 128: 20},
    **{136: 179, 144: 184, 152: 189, 160: 30, 168: 197, 176: 201, 184: 205, 192: 31, 200: 212, 208: 215},
    **{216: 218, 224: 221, 232: 224, 240: 227, 248: 230, 256: 24, 264: 234, 272: 236, 280: 238, 288: 240},
    **{296: 242, 304: 244, 312: 246, 320: 248},
}
_IDS = {64: _IDS_OF_64, 128: _IDS_OF_128}
_STEP = 8
_MOST_ROUNDS = 6
# Fewer rows are one tile's, and the library's offers are as fast.
_LEAST_ROWS = 128
# What a tile costs beside its products: what it reads of both sides, in elements of the product.
_READING = 16


@dataclass(frozen=True, slots=True)
class EvenTile:
    """So many columns of the product and rows of x a tile; `rounds`: of the card."""

    columns: int
    rows: int
    rounds: int

    @property
    def id(self) -> int:
        """The library's."""
        return _IDS[self.rows][self.columns]

    @property
    def cost(self) -> int:
        """To compare tiles of one product."""
        return self.rounds * (self.columns * self.rows + _READING * (self.columns + self.rows))


def even_tiles(columns: int, rows: int, multiprocessors: int) -> list[EvenTile]:
    """For a product of [rows, columns], the cheapest first: of each number of rounds the narrowest tiles that make no more.

    None for few rows, and none for products of many rounds, whose last one does not matter.
    """
    if rows < _LEAST_ROWS:
        return []
    found = set()
    for tile_rows, ids in _IDS.items():
        across = -(-rows // tile_rows)
        for rounds in range(1, _MOST_ROUNDS + 1):
            most = rounds * multiprocessors // across
            if not most:
                continue
            width = -(-columns // (most * _STEP)) * _STEP
            if width in ids:
                needed = -(-(-(-columns // width) * across) // multiprocessors)
                found.add(EvenTile(width, tile_rows, needed))
    return sorted(found, key=lambda tile: (tile.cost, tile.rows))
