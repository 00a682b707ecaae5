"""Products of 2 to 128 rows: y = x @ weight^T with fused norm, residual and SwiGLU.

The weights are the left operand of the matrix instruction: they are the large side and come as
64 or 128 rows, while the few rows of x are padded to 16, 32, 64 or 128 columns.

The norm needs no pass of its own. Whoever writes the residual stream also writes, per row, the
stream scaled by the next norm's gamma and the partial sums of its squares (one a program). Because
the rest of the norm is one factor a row, the next product applies it to its result:

    norm(r) * gamma @ W^T = (r * gamma) @ W^T / sqrt(mean(r^2) + eps)

Split over the inner dimension, the program that finishes last adds the parts in their order, so the
sum does not depend on timing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

from shardline.kernels.chaining import Chain, launch_options, release_next, wait_for_previous
from shardline.kernels.one_row import Epilogue

_PARTIAL_ELEMENTS = 1 << 22
_SPLIT_PROGRAMS = 4096


@dataclass(frozen=True, slots=True)
class FewRowsTile:
    """Launch shape: output columns a program, elements of the inner dimension a step, splits of it,
    pipeline depth, warps."""

    columns: int
    depth: int
    splits: int
    stages: int
    warps: int


@dataclass(frozen=True, slots=True)
class FewRowsScratch:
    """Where the parts of split products meet. One instance serves all products, one after another.

    partial:   f32[elements]
    finished:  i32[programs]: parts done; zero between launches
    """

    partial: torch.Tensor
    finished: torch.Tensor

    @staticmethod
    def allocate(device: torch.device) -> FewRowsScratch:
        """Room for every product that `fits`."""
        return FewRowsScratch(
            torch.empty(_PARTIAL_ELEMENTS, dtype=torch.float32, device=device),
            torch.zeros(_SPLIT_PROGRAMS, dtype=torch.int32, device=device),
        )


def fits(columns: int, rows: int, epilogue: Epilogue, tile: FewRowsTile) -> bool:
    """Whether the scratch memory has room for a product's parts."""
    programs = output_programs(columns, tile)
    halves = 2 if epilogue is Epilogue.SWIGLU else 1
    elements = programs * tile.columns * padded_rows(rows) * tile.splits * halves
    return tile.splits == 1 or (elements <= _PARTIAL_ELEMENTS and programs <= _SPLIT_PROGRAMS)


@dataclass(frozen=True, slots=True)
class PreparedNorm:
    """The residual stream as its next norm wants it.

    scaled:       [rows, hidden] = residual * gamma
    square_sums:  f32[rows, parts]; a row's sum is the sum of squares of the residual
    """

    scaled: torch.Tensor
    square_sums: torch.Tensor


@triton.jit
def _ask_ahead(
    residual,
    gamma,
    square_sums_in,
    eps,
    rows,
    program,
    OUT: tl.constexpr,
    INNER: tl.constexpr,
    COLUMNS: tl.constexpr,
    ROWS: tl.constexpr,
    PARTS_IN: tl.constexpr,
    PARTS_IN_BLOCK: tl.constexpr,
    PARTS_OUT: tl.constexpr,
    EPILOGUE: tl.constexpr,
):
    """What `_finish` needs from memory, on its way while the sum is computed; zeros where it needs nothing.

    The norm's factor f32[ROWS], the residual [COLUMNS, ROWS], gamma [COLUMNS].
    """
    column = program * COLUMNS + tl.arange(0, COLUMNS)
    row = tl.arange(0, ROWS)
    factor = tl.zeros((ROWS,), tl.float32)
    before = tl.zeros((COLUMNS, ROWS), residual.dtype.element_ty)
    scale = tl.zeros((COLUMNS,), gamma.dtype.element_ty)
    if PARTS_IN > 0:
        part = tl.arange(0, PARTS_IN_BLOCK)
        sums = tl.load(
            square_sums_in + row[:, None] * PARTS_IN + part[None, :],
            mask=(row[:, None] < rows) & (part[None, :] < PARTS_IN),
            other=0.0,
        )
        factor = tl.rsqrt(tl.sum(sums, 1) / INNER + eps)
    if EPILOGUE == 1:
        at = row[None, :].to(tl.int64) * OUT + column[:, None]
        before = tl.load(residual + at, mask=(row[None, :] < rows) & (column[:, None] < OUT), other=0.0)
        if PARTS_OUT > 0:
            scale = tl.load(gamma + column, mask=column < OUT, other=0.0)
    return factor, before, scale


@triton.jit
def _finish(
    acc,  # f32[COLUMNS, ROWS]
    acc_up,
    factor,  # these three: see `_ask_ahead`
    before,
    scale,
    bias,
    residual,
    out,
    scaled,
    square_sums_out,
    rows,
    program,
    OUT: tl.constexpr,
    COLUMNS: tl.constexpr,
    ROWS: tl.constexpr,
    PARTS_IN: tl.constexpr,
    PARTS_OUT: tl.constexpr,
    EPILOGUE: tl.constexpr,
    BIAS: tl.constexpr,
):
    """Norm factor, bias and epilogue of one tile of the product, and its stores."""
    column = program * COLUMNS + tl.arange(0, COLUMNS)
    row = tl.arange(0, ROWS)
    at = row[None, :].to(tl.int64) * OUT + column[:, None]
    valid = (row[None, :] < rows) & (column[:, None] < OUT)
    if PARTS_IN > 0:
        acc = acc * factor[None, :]
        if EPILOGUE == 2:
            acc_up = acc_up * factor[None, :]
    if BIAS:
        acc += tl.load(bias + column, mask=column < OUT, other=0.0).to(tl.float32)[:, None]
        if EPILOGUE == 2:
            up = tl.load(bias + OUT + column, mask=column < OUT, other=0.0)
            acc_up += up.to(tl.float32)[:, None]
    if EPILOGUE == 1:
        after = (before.to(tl.float32) + acc).to(residual.dtype.element_ty)
        tl.store(residual + at, after, mask=valid)
        if PARTS_OUT > 0:
            wide = tl.where(valid, after.to(tl.float32), 0.0)
            prepared = wide * scale.to(tl.float32)[:, None]
            tl.store(scaled + at, prepared.to(scaled.dtype.element_ty), mask=valid)
            tl.store(
                square_sums_out + row * PARTS_OUT + program,
                tl.sum(wide * wide, 0),
                mask=row < rows,
            )
    elif EPILOGUE == 2:
        value = acc * tl.sigmoid(acc) * acc_up
        tl.store(out + at, value.to(out.dtype.element_ty), mask=valid)
    else:
        tl.store(out + at, acc.to(out.dtype.element_ty), mask=valid)


@triton.jit(do_not_specialize=["rows"])
def _few_rows_kernel(
    x,  # [rows, INNER]: pointer, or descriptor of (ROWS, DEPTH) blocks where BULK
    weight,  # [OUT or 2 * OUT, INNER]: pointer, or descriptor of (COLUMNS, DEPTH) blocks
    bias,
    residual,  # [rows, OUT]; updated by the residual epilogue
    gamma,  # [OUT]: of the norm that reads the residual next
    square_sums_in,  # f32[rows, PARTS_IN]
    out,  # [rows, OUT]
    scaled,  # [rows, OUT]
    square_sums_out,  # f32[rows, PARTS_OUT]
    partial,
    finished,
    eps,
    rows,
    OUT: tl.constexpr,
    INNER: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    SPLITS: tl.constexpr,
    STAGES: tl.constexpr,
    PARTS_IN: tl.constexpr,
    PARTS_IN_BLOCK: tl.constexpr,
    PARTS_OUT: tl.constexpr,
    EPILOGUE: tl.constexpr,
    BIAS: tl.constexpr,
    BULK: tl.constexpr,
    CHAIN: tl.constexpr,
):
    program = tl.program_id(0)
    split = tl.program_id(1)
    STEPS: tl.constexpr = (INNER + DEPTH - 1) // DEPTH
    PER_SPLIT: tl.constexpr = (STEPS + SPLITS - 1) // SPLITS * DEPTH
    EVEN: tl.constexpr = (INNER % DEPTH == 0) and (OUT % COLUMNS == 0)
    begin = split * PER_SPLIT
    end = begin + PER_SPLIT
    if PER_SPLIT * SPLITS != INNER:
        end = tl.minimum(end, INNER)
    wait_for_previous(CHAIN)
    factor, before, scale = _ask_ahead(
        residual,
        gamma,
        square_sums_in,
        eps,
        rows,
        program,
        OUT,
        INNER,
        COLUMNS,
        ROWS,
        PARTS_IN,
        PARTS_IN_BLOCK,
        PARTS_OUT,
        EPILOGUE,
    )
    acc = tl.zeros((COLUMNS, ROWS), tl.float32)
    acc_up = acc
    if BULK:
        for k in tl.range(begin, end, DEPTH, num_stages=STAGES):
            b = x.load([0, k]).T
            acc = tl.dot(weight.load([program * COLUMNS, k]), b, acc)
            if EPILOGUE == 2:
                acc_up = tl.dot(weight.load([OUT + program * COLUMNS, k]), b, acc_up)
    else:
        row = tl.arange(0, ROWS)
        inner = tl.arange(0, DEPTH)
        column = program * COLUMNS + tl.arange(0, COLUMNS)
        for k in tl.range(begin, end, DEPTH, num_stages=STAGES):
            known = k + inner < INNER
            b = tl.load(
                x + row[None, :] * INNER + (k + inner)[:, None],
                mask=(row[None, :] < rows) & known[:, None],
                other=0.0,
            )
            address = weight + column[:, None].to(tl.int64) * INNER + (k + inner)[None, :]
            if EVEN:
                acc = tl.dot(tl.load(address), b, acc)
                if EPILOGUE == 2:
                    acc_up = tl.dot(tl.load(address + OUT * INNER), b, acc_up)
            else:
                inside = (column[:, None] < OUT) & known[None, :]
                acc = tl.dot(tl.load(address, mask=inside, other=0.0), b, acc)
                if EPILOGUE == 2:
                    up = tl.load(address + OUT * INNER, mask=inside, other=0.0)
                    acc_up = tl.dot(up, b, acc_up)
    release_next(CHAIN)
    if SPLITS > 1:
        SIZE: tl.constexpr = COLUMNS * ROWS
        HALVES: tl.constexpr = 2 if EPILOGUE == 2 else 1
        offset = tl.arange(0, COLUMNS)[:, None] * ROWS + tl.arange(0, ROWS)[None, :]
        mine = partial + (program * SPLITS + split) * SIZE * HALVES
        tl.store(mine + offset, acc)
        if EPILOGUE == 2:
            tl.store(mine + SIZE + offset, acc_up)
        tl.debug_barrier()
        if tl.atomic_add(finished + program, 1, sem="acq_rel") != SPLITS - 1:
            return
        tl.store(finished + program, 0)
        acc = tl.zeros((COLUMNS, ROWS), tl.float32)
        acc_up = acc
        for index in tl.static_range(SPLITS):
            part = partial + (program * SPLITS + index) * SIZE * HALVES
            acc += tl.load(part + offset, cache_modifier=".cg")
            if EPILOGUE == 2:
                acc_up += tl.load(part + SIZE + offset, cache_modifier=".cg")
    _finish(
        acc,
        acc_up,
        factor,
        before,
        scale,
        bias,
        residual,
        out,
        scaled,
        square_sums_out,
        rows,
        program,
        OUT,
        COLUMNS,
        ROWS,
        PARTS_IN,
        PARTS_OUT,
        EPILOGUE,
        BIAS,
    )


def padded_rows(rows: int) -> int:
    """The columns of the matrix instruction that `rows` rows of x occupy."""
    return max(16, triton.next_power_of_2(rows))


def few_rows_product(
    x: torch.Tensor,
    weight: torch.Tensor,
    out: torch.Tensor,
    tile: FewRowsTile,
    scratch: FewRowsScratch,
    *,
    epilogue: Epilogue = Epilogue.STORE,
    bias: torch.Tensor | None = None,
    square_sums: torch.Tensor | None = None,
    eps: float = 0.0,
    next_gamma: torch.Tensor | None = None,
    prepared: PreparedNorm | None = None,
    bulk_loads: bool = False,
    chain: Chain = Chain.OFF,
) -> None:
    """out = epilogue(factor * (x @ weight^T) + bias).

    x:            [rows, inner], rows <= 128; with square_sums it is a PreparedNorm's `scaled`
    weight:       [out, inner]; for SWIGLU [2 * out, inner], gate rows first
    out:          [rows, out]; for RESIDUAL the residual stream, which the product is added to
    square_sums:  f32[rows, parts] of the same PreparedNorm; factor = 1 / sqrt(mean + eps)
    next_gamma, prepared: only for RESIDUAL: also prepare the sum for the norm that follows. The
                  second dimension of `prepared.square_sums` is the number of programs,
                  `output_programs(out columns, tile)`.
    """
    rows, inner = x.shape
    width = out.shape[1]
    rows_block = padded_rows(rows)
    if not fits(width, rows, epilogue, tile):
        raise ValueError(f"{rows} x {width} in {tile.splits} parts is more than the scratch memory holds")
    parts = 0 if square_sums is None else square_sums.shape[1]
    # A block of a descriptor that starts in the gate half must not reach into the up half.
    bulk = bulk_loads and width % tile.columns == 0 and inner % tile.depth == 0
    left: object = weight
    right: object = x
    if bulk:
        left = TensorDescriptor.from_tensor(weight, [tile.columns, tile.depth])
        right = TensorDescriptor.from_tensor(x, [rows_block, tile.depth])
    _few_rows_kernel[(output_programs(width, tile), tile.splits)](
        right,
        left,
        weight if bias is None else bias,
        out,
        out if next_gamma is None else next_gamma,
        scratch.partial if square_sums is None else square_sums,
        out,
        out if prepared is None else prepared.scaled,
        scratch.partial if prepared is None else prepared.square_sums,
        scratch.partial,
        scratch.finished,
        eps,
        rows,
        OUT=width,
        INNER=inner,
        ROWS=rows_block,
        COLUMNS=tile.columns,
        DEPTH=tile.depth,
        SPLITS=tile.splits,
        STAGES=tile.stages,
        PARTS_IN=parts,
        PARTS_IN_BLOCK=triton.next_power_of_2(max(parts, 1)),
        PARTS_OUT=0 if prepared is None else prepared.square_sums.shape[1],
        EPILOGUE=int(epilogue),
        BIAS=bias is not None,
        BULK=bulk,
        CHAIN=int(chain),
        num_warps=tile.warps,
        **launch_options(chain),
    )


def output_programs(width: int, tile: FewRowsTile) -> int:
    """Programs over the columns of a product: the parts of the square sums it leaves."""
    return triton.cdiv(width, tile.columns)
