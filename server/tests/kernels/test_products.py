"""Products of one and of few rows, with every prologue and epilogue."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton")

from shardline.kernels.chaining import Chain
from shardline.kernels.few_rows import (
    FewRowsScratch,
    FewRowsTile,
    PreparedNorm,
    few_rows_product,
    output_programs,
)
from shardline.kernels.one_row import Epilogue, OneRowTile, one_row_product
from shardline.kernels.target import KernelTarget
from support import kernel_oracles as oracles

EPS = 1e-5
SHAPES = [(200, 96), (96, 576)]


def make(shape, generator, device, dtype, scale=1.0):
    return (torch.randn(*shape, generator=generator, device=device) * scale).to(dtype)


@pytest.mark.parametrize(("out_width", "inner"), SHAPES)
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("epilogue", list(Epilogue))
@pytest.mark.parametrize("tile", [OneRowTile(2, 64, 1), OneRowTile(8, 256, 2)])
def test_one_row(out_width, inner, norm, epilogue, tile, device, dtype, generator):
    halves = 2 if epilogue is Epilogue.SWIGLU else 1
    x = make((1, inner), generator, device, dtype)
    weight = make((halves * out_width, inner), generator, device, dtype, inner**-0.5)
    bias = make((halves * out_width,), generator, device, dtype)
    gamma = make((inner,), generator, device, dtype) if norm else None
    out = make((1, out_width), generator, device, dtype)
    source = x.float() if gamma is None else oracles.rms_norm(x, gamma, EPS)
    expected = source @ weight.float().T + bias.float()
    if epilogue is Epilogue.RESIDUAL:
        expected += out.float()
    if epilogue is Epilogue.SWIGLU:
        expected = oracles.swiglu(expected)
    one_row_product(x, weight, out, tile, epilogue=epilogue, bias=bias, gamma=gamma, eps=EPS)
    assert oracles.relative_error(out, expected) < oracles.tolerance(dtype)


@pytest.mark.parametrize("rows", [1, 17, 33])
@pytest.mark.parametrize(("out_width", "inner"), SHAPES)
@pytest.mark.parametrize("epilogue", list(Epilogue))
@pytest.mark.parametrize("tile", [FewRowsTile(64, 64, 1, 2, 4), FewRowsTile(16, 32, 3, 2, 4)])
def test_few_rows(rows, out_width, inner, epilogue, tile, device, dtype, generator):
    halves = 2 if epilogue is Epilogue.SWIGLU else 1
    x = make((rows, inner), generator, device, dtype)
    weight = make((halves * out_width, inner), generator, device, dtype, inner**-0.5)
    bias = make((halves * out_width,), generator, device, dtype)
    out = make((rows, out_width), generator, device, dtype)
    scratch = FewRowsScratch.allocate(device)
    # The parts of the square sums need not be what the product's own launch would leave.
    sums = torch.rand(rows, 5, generator=generator, device=device) * inner
    factor = torch.rsqrt(sums.sum(1, keepdim=True) / inner + EPS)
    expected = factor * (x.float() @ weight.float().T) + bias.float()
    if epilogue is Epilogue.RESIDUAL:
        expected += out.float()
    if epilogue is Epilogue.SWIGLU:
        expected = oracles.swiglu(expected)
    bulk = KernelTarget.of(device).bulk_loads
    for _ in range(2):  # the second launch finds the counters as the first one left them
        result = out.clone()
        few_rows_product(
            x,
            weight,
            result,
            tile,
            scratch,
            epilogue=epilogue,
            bias=bias,
            square_sums=sums,
            eps=EPS,
            bulk_loads=bulk,
        )
        assert oracles.relative_error(result, expected) < oracles.tolerance(dtype)
        assert not scratch.finished.any()


@pytest.mark.parametrize("rows", [1, 5, 32])
@pytest.mark.parametrize("splits", [1, 2])
def test_a_product_prepares_the_next_norm(rows, splits, device, dtype, generator):
    """Two products in a row: the first leaves what the second needs to normalise."""
    hidden, inner, out_width = 192, 128, 80
    tile = FewRowsTile(64, 64, splits, 2, 4)
    x = make((rows, inner), generator, device, dtype)
    first = make((hidden, inner), generator, device, dtype, inner**-0.5)
    second = make((out_width, hidden), generator, device, dtype, hidden**-0.5)
    gamma = make((hidden,), generator, device, dtype)
    residual = make((rows, hidden), generator, device, dtype)
    expected_stream = residual.float() + x.float() @ first.float().T
    expected = oracles.rms_norm(expected_stream, gamma, EPS) @ second.float().T
    scratch = FewRowsScratch.allocate(device)
    prepared = PreparedNorm(
        torch.full_like(residual, float("nan")),
        torch.full((rows, output_programs(hidden, tile)), float("nan"), device=device),
    )
    chain = Chain.LATE if KernelTarget.of(device).chained_launch else Chain.OFF
    few_rows_product(
        x,
        first,
        residual,
        tile,
        scratch,
        epilogue=Epilogue.RESIDUAL,
        next_gamma=gamma,
        prepared=prepared,
        chain=chain,
    )
    out = torch.full((rows, out_width), float("nan"), dtype=dtype, device=device)
    few_rows_product(
        prepared.scaled,
        second,
        out,
        tile,
        scratch,
        square_sums=prepared.square_sums,
        eps=EPS,
        chain=chain,
    )
    assert oracles.relative_error(residual, expected_stream) < oracles.tolerance(dtype)
    assert oracles.relative_error(out, expected) < 2 * oracles.tolerance(dtype)
