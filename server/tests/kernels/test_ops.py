"""The triton products against the torch products, through the seam, in whole layers."""

from __future__ import annotations

import random
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Sizes:
    """Of a layer, its attention and its tables."""

    hidden: int = HIDDEN
    heads: int = 200
    intermediate: int = INTERMEDIATE
    vocabulary: int = VOCABULARY


SMALL = Sizes()


def make_weights(generator, device, dtype, sizes=SMALL):
    def weight(out, inner, bias):
        values = torch.randn(out, inner, generator=generator, device=device) * inner**-0.5
        extra = torch.randn(out, generator=generator, device=device) if bias else None
        return LinearWeight(values.to(dtype), None if extra is None else extra.to(dtype))

    def norm():
        values = 1 + 0.3 * torch.randn(sizes.hidden, generator=generator, device=device)
        return Norm(values.to(dtype), 1e-5)

    return {
        "table": weight(sizes.vocabulary, sizes.hidden, False),
        "qkv": weight(sizes.heads, sizes.hidden, True),
        "o": weight(sizes.hidden, sizes.heads, False),
        "gate_up": weight(2 * sizes.intermediate, sizes.hidden, False),
        "down": weight(sizes.hidden, sizes.intermediate, True),
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


def facts(device, dtype, sizes=SMALL):
    return OpsFacts(
        device=device, dtype=dtype, max_rows=512, hidden_size=sizes.hidden, vocab_size=sizes.vocabulary
    )


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


@pytest.mark.card
@pytest.mark.parametrize("seed", range(24))
def test_random_layers(seed, device, dtype, generator):
    """Random widths, some of them odd, and numbers of rows, by whatever way is chosen for each."""
    chance = random.Random(seed)
    sizes = Sizes(
        hidden=chance.choice((64, 96, 576, 1000, 2048, 4096)),
        heads=chance.choice((72, 200, 576, 960, 3072, 6144)),
        intermediate=chance.choice((72, 333, 1000, 1536, 8192, 14336)),
        vocabulary=chance.choice((160, 5001, 32000, 49152, 128256)),
    )
    rows = chance.choice((1, 2, 3, 16, 17, 40, 64, 65, 100, 127, 128, 200, 256, 412))
    weights = make_weights(generator, device, dtype, sizes)
    tokens = torch.randint(sizes.vocabulary, (rows,), generator=generator, device=device).int()
    some = torch.randperm(rows, generator=generator, device=device)[: chance.randint(1, rows)]
    sampled = chance.choice((None, some))
    x, logits = layer(TritonOps(facts(device, dtype, sizes)), weights, tokens, sampled)
    oracle = TorchOps(facts(device, torch.float32, sizes))
    expected_x, expected = layer(oracle, as_float(weights), tokens, sampled)
    assert logits.dtype == torch.float32
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
