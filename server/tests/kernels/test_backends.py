"""Whole models on the triton backends against the torch backends, through the runner."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("triton")

from shardline.assembly import assemble
from shardline.config import ShardConfig
from shardline.runner.graph_sizes import GraphSizes
from shardline.runner.graphs import representative
from support.driver import Driver, Request

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 160,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "torch_dtype": "float16",
}
QWEN = CONFIG | {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"}
WINDOW = CONFIG | {
    "architectures": ["MistralForCausalLM"],
    "model_type": "mistral",
    "sliding_window": 12,
}


def make(folder, backend, device):
    dtype = "float32" if backend == "torch" else "float16"
    config = ShardConfig(
        model_path=folder,
        shard_uds_path="unused",
        device=str(device),
        dtype=dtype,
        ops=backend,
        attention=backend,
        load_format="dummy",
        block_size=16,
        kv_cache_tokens=1024,
        max_sequences=8,
        max_step_tokens=64,
    )
    return assemble(config, lambda phase, message: None)


def run(folder, backend, device, budget):
    """Greedy tokens of prompts of different lengths, in chunks and mixed steps."""
    shard = make(folder, backend, device)
    numbers = np.random.default_rng(5)
    requests = [Request(numbers.integers(0, 160, length).tolist(), new_tokens=4) for length in (1, 5, 17, 33)]
    Driver(shard.runner, 16, shard.info.num_blocks).run(requests, budget)
    return [request.tokens for request in requests]


@pytest.mark.parametrize(
    ("values", "budget"),
    [(CONFIG, 13), (CONFIG, 64), (QWEN, 13), (WINDOW, 13)],
    ids=["llama", "llama-whole-prompts", "qwen3", "window"],
)
def test_same_greedy_tokens(values, budget, tmp_path, device):
    (tmp_path / "config.json").write_text(json.dumps(values))
    expected = run(tmp_path, "torch", device, budget)
    assert run(tmp_path, "triton", device, budget) == expected
    assert all(len(tokens) == 4 for tokens in expected)


def test_steps_over_padding_have_logits_for_every_padded_row(tmp_path, device):
    """What graphs are captured from."""
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    shard = make(tmp_path, "triton", device)
    parts = shard.runner._parts
    sizes = GraphSizes(parts.inputs.max_rows, parts.inputs.max_tokens).representatives()
    assert {size.is_decode for size in sizes} == {True, False}
    for size in sizes:
        inputs = representative(parts.inputs.blank(size.padding), size)
        assert parts.eager.logits(inputs).shape == (size.rows, CONFIG["vocab_size"])
    shard.close()
