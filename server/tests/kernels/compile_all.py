"""Compiles every kernel for one architecture on a machine without a card: `compile_all.py 90`.

Triton's compiler needs no GPU, only the driver's answers to "which device is this". Launches are
turned into compilations, so the product's own launch functions say which variants there are.
Prints one line a variant: name, registers spilled to memory, bytes of shared memory.
"""

from __future__ import annotations

import sys

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

from shardline.dist.peers import PeerMemory
from shardline.kernels import decode_attention, prefill_attention
from shardline.kernels.chaining import Chain
from shardline.kernels.embedding import embed
from shardline.kernels.few_rows import (
    FewRowsScratch,
    FewRowsTile,
    PreparedNorm,
    few_rows_product,
    output_programs,
)
from shardline.kernels.one_row import Epilogue, OneRowTile, one_row_product
from shardline.kernels.peer_rows import PeerRows
from shardline.kernels.peer_words import PeerWords
from shardline.kernels.rms_norm import rms_norm
from shardline.kernels.rotary import HeadGeometry, HeadNorm, rope_and_write
from shardline.kernels.sampling import SamplingScratch, SamplingTable, sample
from shardline.kernels.swiglu import swiglu

CPU = torch.device("cpu")


class OfflineDriver:
    """Answers what the compiler asks of a driver."""

    def __init__(self, capability: int) -> None:
        self._target = GPUTarget("cuda", capability, 32)

    def get_current_target(self) -> GPUTarget:
        return self._target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def compile_instead_of_launch(report: list[str]) -> None:
    """Makes `kernel[grid](...)` compile and note what came out."""
    run = JITFunction.run

    def compile_only(self, *args, **kwargs):
        kernel = run(self, *args, **{**kwargs, "warmup": True})
        report.append(f"{self.__name__} shared {kernel.metadata.shared} warps {kernel.metadata.num_warps}")
        return kernel

    JITFunction.run = compile_only


def tensors(dtype: torch.dtype, hopper: bool) -> None:
    """One call of every launch function, with the variants that differ in code."""

    def make(*shape: int, kind: torch.dtype = dtype) -> torch.Tensor:
        return torch.zeros(shape, dtype=kind)

    i32 = torch.int32
    chains = (Chain.LATE,) if hopper else (Chain.OFF,)
    for chain in chains:
        embed(make(4, kind=i32), make(64, 512), make(4, 512), chain=chain)
        rms_norm(make(4, 512), make(512), 1e-5, make(4, 512), delta=make(4, 512), chain=chain)
        swiglu(make(4, 1024), make(4, 512), chain=chain)
        products(make, hopper, chain)
        for dim, norm in ((128, False), (96, False), (64, True)):
            attention(make, dim, norm, hopper, chain)
        sampling(make, chain)
    for ranks in (2, 8):
        addresses = torch.zeros(ranks, dtype=torch.int64)
        memory = PeerMemory(addresses)
        for sums in (PeerWords(memory, 0), PeerRows(memory, 0)):
            partial = make(4, 4096)
            sums(partial, partial, make(4096), make(4, 4096), 1e-5)
            sums(partial, make(4, 4096), None, None, 0.0)
        PeerWords(memory, 0)(partial, partial, None, None, 0.0, chained=chain is not Chain.OFF)


def products(make, hopper: bool, chain: Chain) -> None:
    scratch = FewRowsScratch.allocate(CPU)
    for epilogue in Epilogue:
        weight = make(1024 if epilogue is Epilogue.SWIGLU else 512, 1024)
        one_row_product(
            make(1, 1024),
            weight,
            make(1, 512),
            OneRowTile(2, 512, 2),
            epilogue=epilogue,
            gamma=make(1024),
            chain=chain,
        )
        tile = FewRowsTile(64, 64, 2, 2, 4)
        prepared = None
        if epilogue is Epilogue.RESIDUAL:
            sums = torch.zeros(16, output_programs(512, tile))
            prepared = PreparedNorm(make(16, 512), sums)
        few_rows_product(
            make(16, 1024),
            weight,
            make(16, 512),
            tile,
            scratch,
            epilogue=epilogue,
            square_sums=torch.zeros(16, 8),
            next_gamma=None if prepared is None else make(512),
            prepared=prepared,
            bulk_loads=hopper,
            chain=chain,
        )


def attention(make, dim: int, norm: bool, hopper: bool, chain: Chain) -> None:
    capability = (9, 0) if hopper else (8, 0)
    angles = torch.zeros(64, dim // 2)
    geometry = HeadGeometry(8, 2, dim, angles, angles)
    head_norm = HeadNorm(make(dim), make(dim), 1e-6) if norm else None
    qkv, cache = make(8, geometry.row_width), make(4, 2, 2, 64, dim)
    rows = torch.zeros(8, dtype=torch.int32)
    starts = torch.zeros(9, dtype=torch.int32)
    tables = torch.zeros(8, 16, dtype=torch.int32)
    out = make(8, 8 * dim)
    rope_and_write(
        qkv, cache, geometry, starts, rows, rows, rows, norm=head_norm, skip_single_token_rows=True
    )
    tile = prefill_attention.choose_tile(dim, capability)
    plan = prefill_attention.PrefillPlan.allocate(8, 8, tile, CPU)
    prefill_attention.plan_tiles(starts, plan, tile)
    common = (tables, rows, starts, rows)
    prefill_attention.prefill_attention(qkv, cache, geometry, *common, plan, out, tile, scale=1.0)
    for count in (1, 8, 32, 256):
        decode_tile = decode_attention.choose_tile(count, 8, 132)
        scratch = decode_attention.DecodeScratch.allocate(8 * decode_tile.splits, 8, geometry, CPU)
        decode_attention.decode_attention(
            qkv,
            cache,
            geometry,
            *common,
            out,
            scratch,
            decode_tile,
            scale=1.0,
            norm=head_norm,
            chain=chain,
        )


def sampling(make, chain: Chain) -> None:
    table = SamplingTable(torch.zeros(4, 8), torch.zeros(4, dtype=torch.int64))
    scratch = SamplingScratch.allocate(4, 128256, CPU)
    rows = torch.zeros(4, dtype=torch.int32)
    for greedy in (True, False):
        sample(
            make(4, 128256),
            rows,
            rows,
            table,
            scratch,
            rows,
            torch.zeros(4, dtype=torch.int64),
            torch.zeros(4, dtype=torch.bool),
            only_greedy=greedy,
            chain=chain,
        )


def main() -> None:
    capability = int(sys.argv[1])
    report: list[str] = []
    triton.runtime.driver.set_active(OfflineDriver(capability))
    compile_instead_of_launch(report)
    tensors(torch.bfloat16, capability >= 90)
    print("\n".join(report))
    print(f"{len(report)} variants")


if __name__ == "__main__":
    main()
