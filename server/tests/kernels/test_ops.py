"""The triton products against the torch products, through the seam, in whole layers."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton")

from shardline.kernels.choice import Product, Way
from shardline.kernels.few_rows import FewRowsTile
from shardline.kernels.one_row import Epilogue
from shardline.kernels.ops import TritonOps
from shardline.ops.base import Hidden, LinearWeight, Norm, OpsFacts
from shardline.ops.torch_ops import TorchOps
from support import kernel_oracles as oracles

HIDDEN, INTERMEDIATE, VOCABULARY = 128, 192, 160


def make_weights(generator, device, dtype):
    def weight(out, inner, bias):
        values = torch.randn(out, inner, generator=generator, device=device) * inner**-0.5
        extra = torch.randn(out, generator=generator, device=device) if bias else None
        return LinearWeight(values.to(dtype), None if extra is None else extra.to(dtype))

    def norm():
        return Norm((1 + 0.3 * torch.randn(HIDDEN, generator=generator, device=device)).to(dtype), 1e-5)

    return {
        "table": weight(VOCABULARY, HIDDEN, False),
        "qkv": weight(200, HIDDEN, True),
        "o": weight(HIDDEN, 200, False),
        "gate_up": weight(2 * INTERMEDIATE, HIDDEN, False),
        "down": weight(HIDDEN, INTERMEDIATE, True),
        "norms": [norm(), norm(), norm()],
    }


def layer(ops, weights, tokens, rows):
    """Embedding, both blocks without attention, head."""
    first, second, final = weights["norms"]
    x = ops.embed(tokens, weights["table"].weight, 0, first)
    qkv = ops.norm_linear(x, first, weights["qkv"])
    x = ops.linear_residual(qkv, weights["o"], x, second)
    h = ops.norm_linear_swiglu(x, second, weights["gate_up"])
    x = ops.linear_residual(h, weights["down"], x, final)
    return x, ops.logits(x, rows, final, weights["table"])


def as_float(weights):
    def wide(value):
        if isinstance(value, LinearWeight):
            return LinearWeight(value.weight.float(), None if value.bias is None else value.bias.float())
        return [Norm(norm.weight.float(), norm.epsilon) for norm in value]

    return {name: wide(value) for name, value in weights.items()}


def facts(device, dtype):
    return OpsFacts(device=device, dtype=dtype, max_rows=128, vocab_size=VOCABULARY)


@pytest.mark.parametrize("count", [1, 2, 20, 70])
@pytest.mark.parametrize("some_rows", [False, True])
def test_a_layer_equals_the_oracle(count, some_rows, device, dtype, generator):
    weights = make_weights(generator, device, dtype)
    tokens = torch.randint(VOCABULARY, (count,), generator=generator, device=device).int()
    rows = torch.tensor([count - 1, 0], device=device) if some_rows else None
    ours = TritonOps(facts(device, dtype))
    x, logits = layer(ours, weights, tokens, rows)
    assert logits.dtype == torch.float32
    oracle = TorchOps(facts(device, torch.float32))
    expected_x, expected = layer(oracle, as_float(weights), tokens, rows)
    assert oracles.relative_error(x.values, expected_x.values) < 3 * oracles.tolerance(dtype)
    assert oracles.relative_error(logits, expected) < 3 * oracles.tolerance(dtype)


@pytest.mark.parametrize("library", ["qkv", "o", "gate_up", "down"])
def test_ways_mix_freely(library, device, dtype, generator):
    """One product of the layer by the library, the others by the few-row kernel."""
    weights = make_weights(generator, device, dtype)
    tokens = torch.randint(VOCABULARY, (5,), generator=generator, device=device).int()
    ours = TritonOps(facts(device, dtype))
    epilogues = {"qkv": Epilogue.STORE, "gate_up": Epilogue.SWIGLU}
    epilogue = epilogues.get(library, Epilogue.RESIDUAL)
    out, inner = weights[library].weight.shape
    product = Product(out // 2 if epilogue is Epilogue.SWIGLU else out, inner, epilogue)
    ours.choices.set_few_rows(product, 16, Way.LIBRARY, FewRowsTile(16, 64, 1, 2, 4))
    _, logits = layer(ours, weights, tokens, None)
    oracle = TorchOps(facts(device, torch.float32))
    _, expected = layer(oracle, as_float(weights), tokens, None)
    assert oracles.relative_error(logits, expected) < 3 * oracles.tolerance(dtype)


def test_a_product_without_residual_and_a_split_table(device, dtype, generator):
    weights = make_weights(generator, device, dtype)
    ours, oracle = TritonOps(facts(device, dtype)), TorchOps(facts(device, torch.float32))
    h = torch.randn(3, 200, generator=generator, device=device).to(dtype)
    got = ours.linear_residual(h, weights["o"], None)
    expected = oracle.linear_residual(h.float(), as_float(weights)["o"], None)
    assert oracles.relative_error(got.values, expected.values) < oracles.tolerance(dtype)
    tokens = torch.tensor([3, 90, 159, 80], dtype=torch.int32, device=device)
    part = weights["table"].weight[80:]
    got = ours.embed(tokens, part, 80)
    expected = oracle.embed(tokens, part.float(), 80)
    assert torch.equal(got.values.float(), expected.values)


def test_a_stream_without_a_note_is_normalised(device, dtype, generator):
    """After a sum over ranks nobody has prepared the norm."""
    weights = make_weights(generator, device, dtype)
    ours, oracle = TritonOps(facts(device, dtype)), TorchOps(facts(device, torch.float32))
    x = torch.randn(4, HIDDEN, generator=generator, device=device).to(dtype)
    got = ours.norm_linear_swiglu(Hidden(x), weights["norms"][0], weights["gate_up"])
    wide = as_float(weights)
    expected = oracle.norm_linear_swiglu(Hidden(x.float()), wide["norms"][0], wide["gate_up"])
    assert oracles.relative_error(got, expected) < 2 * oracles.tolerance(dtype)
