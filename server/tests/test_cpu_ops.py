"""The native products against torch's, and their promise: a row does not depend on its batch."""

import pytest
import torch
from torch import Tensor

from shardline.ops.base import Hidden, LinearWeight, Norm, OpsFacts
from shardline.ops.cpu_ops import CpuOps
from shardline.ops.torch_ops import TorchOps

FACTS = OpsFacts(torch.device("cpu"), torch.float32, max_rows=64, hidden_size=192, vocab_size=100)
SHAPES = [(1, 6, 4), (3, 50, 33), (16, 192, 576), (17, 130, 100)]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def torch_ops() -> TorchOps:
    return TorchOps(FACTS)


@pytest.fixture
def cpu_ops() -> CpuOps:
    return CpuOps(FACTS)


@pytest.mark.parametrize(("rows", "outputs", "inputs"), SHAPES)
def test_products_agree_with_torch(
    torch_ops: TorchOps, cpu_ops: CpuOps, rows: int, outputs: int, inputs: int
) -> None:
    weight = LinearWeight(random(outputs, inputs, seed=1), random(outputs, seed=2))
    x = Hidden(random(rows, inputs, seed=3))
    norm = Norm(random(inputs, seed=4), 1e-5)
    packed, gated = cpu_ops.pack(weight), cpu_ops.pack(weight, gated=True)
    assert packed.weight.numel() == 0, "the given weight is not kept"
    torch.testing.assert_close(
        cpu_ops.norm_linear(x, norm, packed), torch_ops.norm_linear(x, norm, weight), rtol=1e-5, atol=1e-4
    )
    torch.testing.assert_close(
        cpu_ops.norm_linear_swiglu(x, norm, gated),
        torch_ops.norm_linear_swiglu(x, norm, weight),
        rtol=1e-4,
        atol=1e-3,
    )
    sampled = torch.tensor([rows - 1, 0])
    without_bias = LinearWeight(weight.weight)
    torch.testing.assert_close(
        cpu_ops.logits(x, sampled, norm, cpu_ops.pack(without_bias)),
        torch_ops.logits(x, sampled, norm, without_bias),
        rtol=1e-5,
        atol=1e-4,
    )


def test_the_residual_is_added_to_in_place(torch_ops: TorchOps, cpu_ops: CpuOps) -> None:
    weight = LinearWeight(random(20, 30, seed=1), random(20, seed=2))
    h, stream = random(5, 30, seed=3), random(5, 20, seed=4)
    expected = torch_ops.linear_residual(h, weight, Hidden(stream.clone())).values
    result = cpu_ops.linear_residual(h, cpu_ops.pack(weight), Hidden(stream)).values
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)
    assert result.data_ptr() == stream.data_ptr()
    alone = cpu_ops.linear_residual(h, cpu_ops.pack(weight), None).values
    torch.testing.assert_close(alone, torch_ops.linear_residual(h, weight, None).values, rtol=1e-5, atol=1e-5)


def test_a_row_alone_gives_the_same_bits_as_in_a_batch(cpu_ops: CpuOps) -> None:
    weight = cpu_ops.pack(LinearWeight(random(96, 100, seed=1)), gated=True)
    norm = Norm(random(100, seed=2), 1e-5)
    x = random(37, 100, seed=3)
    together = cpu_ops.norm_linear_swiglu(Hidden(x), norm, weight)
    for row in range(37):
        alone = cpu_ops.norm_linear_swiglu(Hidden(x[row : row + 1]), norm, weight)
        assert torch.equal(alone[0], together[row])


def test_strided_rows_and_no_rows(torch_ops: TorchOps, cpu_ops: CpuOps) -> None:
    weight = LinearWeight(random(8, 10, seed=1))
    packed = cpu_ops.pack(weight)
    h = random(10, 6, seed=2).t()
    torch.testing.assert_close(
        cpu_ops.linear_residual(h, packed, None).values, torch_ops.linear_residual(h, weight, None).values
    )
    assert cpu_ops.linear_residual(h[:0], packed, None).values.shape == (0, 8)


def test_what_does_not_fit_is_refused_before_an_address_is_taken(cpu_ops: CpuOps) -> None:
    packed = cpu_ops.pack(LinearWeight(random(8, 10), random(7)))
    with pytest.raises(
        ValueError, match=r"float32\[2, 10\] on the CPU is needed, not torch\.float32\[2, 9\]"
    ):
        cpu_ops.linear_residual(random(2, 9), packed, None)
    with pytest.raises(ValueError, match=r"float32\[8\] on the CPU is needed, not torch\.float32\[7\]"):
        cpu_ops.linear_residual(random(2, 10), packed, None)
    with pytest.raises(ValueError, match=r"not torch\.float64"):
        cpu_ops.linear_residual(random(2, 10).double(), packed, None)
    with pytest.raises(ValueError, match="even number of rows; this one has 7"):
        cpu_ops.pack(LinearWeight(random(7, 3)), gated=True)
    with pytest.raises(ValueError, match="choose 'torch'"):
        CpuOps(OpsFacts(torch.device("cpu"), torch.bfloat16, max_rows=1, hidden_size=1, vocab_size=1))
