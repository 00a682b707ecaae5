"""Addresses of keys in the paged cache [blocks, 2, kv_heads, block, dim].

Block ids are loaded one tile ahead and carried through the loop: a load inside a pipelined loop that
feeds the address of another load takes the pipeline's buffers away.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def block_ids(table, start, lane, last, BLOCK: tl.constexpr, TILE: tl.constexpr):
    """Block ids of the keys start + lane; one id where a tile lies within one block.

    table: i32 pointer to the sequence's block table; last: the highest key that may be read.
    """
    if BLOCK % TILE == 0:
        ids = tl.load(table + tl.minimum(start, last) // BLOCK)
    else:
        ids = tl.load(table + tl.minimum(start + lane, last) // BLOCK)
    return ids


@triton.jit
def key_rows(ids, start, lane, kv_head, KV_HEADS: tl.constexpr, BLOCK: tl.constexpr, TILE: tl.constexpr):
    """Rows (of dim elements) of the cache that hold the keys start + lane of one head.

    The values lie KV_HEADS * BLOCK rows further. start is a multiple of TILE.
    """
    first = (ids.to(tl.int64) * 2 * KV_HEADS + kv_head) * BLOCK
    if BLOCK % TILE == 0:
        rows = first + start % BLOCK + lane
    else:
        rows = first + (start + lane) % BLOCK
    return rows
