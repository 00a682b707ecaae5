"""Rope frequencies and amplitudes against those of `transformers`."""

import pytest
import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from shardline.layers.rope import RopeConfig, RopeConfigError

CASES = {
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 2.0},
    "llama3": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 8192},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 4096},
    "yarn-tuned": {"factor": 16.0, "original_max_position_embeddings": 2048, "beta_fast": 16.0,
                   "beta_slow": 2.0, "mscale": 0.7, "mscale_all_dim": 1.0, "truncate": False},
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("head_dim", [64, 128])
def test_frequencies_equal_the_oracle(name, head_dim):
    kind = name.split("-")[0]
    config = LlamaConfig(
        hidden_size=head_dim * 4,
        num_attention_heads=4,
        max_position_embeddings=8192,
        rope_parameters={"rope_type": kind, "rope_theta": 500000.0, **CASES[name]},
    )
    frequencies, amplitude = ROPE_INIT_FUNCTIONS[kind](config, "cpu")
    rope = RopeConfig.parse(config.to_dict(), head_dim)
    torch.testing.assert_close(rope.frequencies(), frequencies, rtol=1e-6, atol=0)
    cos, sin = rope.tables(8192, torch.device("cpu"))
    assert cos.shape == sin.shape == (8192, head_dim // 2)
    torch.testing.assert_close(cos.square() + sin.square(), torch.full_like(cos, amplitude**2))


def test_older_spelling_means_the_same():
    old = {
        "rope_theta": 5e5,
        "rope_scaling": {"type": "linear", "factor": 2.0},
        "max_position_embeddings": 64,
    }
    new = {
        "rope_parameters": {"rope_type": "linear", "rope_theta": 5e5, "factor": 2.0},
        "max_position_embeddings": 64,
    }
    assert RopeConfig.parse(old, 64) == RopeConfig.parse(new, 64)


def test_divisors_of_a_gguf_file_divide():
    plain = RopeConfig(theta=10000.0, rotary_dim=8)
    divided = plain.with_divisors((1.0, 2.0, 4.0, 8.0))
    torch.testing.assert_close(
        divided.frequencies(), plain.frequencies() / torch.tensor([1.0, 2.0, 4.0, 8.0])
    )


@pytest.mark.parametrize(
    ("field", "value"), [("rope_type", "longrope"), ("factor", "4"), ("factor", -1.0), ("factor", True)]
)
def test_what_cannot_be_served_is_named(field, value):
    with pytest.raises(RopeConfigError, match="rope"):
        RopeConfig.parse({"rope_parameters": {"rope_type": "linear", field: value}}, 64)
