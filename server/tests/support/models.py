"""Tiny random models made by `transformers`, and its greedy tokens: the oracle."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from shardline.assembly import Shard, assemble
from shardline.config import ShardConfig
from support.driver import Driver

VOCABULARY = 300
COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 72,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


@dataclass(frozen=True)
class Tiny:
    """A configuration. `own`: what differs from `COMMON`."""

    name: str
    family: str
    own: dict[str, Any] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash(self.name)


def rope(kind: str, **parameters: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **parameters}}


MODELS = (
    Tiny("llama", "llama", {"head_dim": 16}),
    Tiny("llama-biased", "llama", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    Tiny(
        "llama-3",
        "llama",
        rope(
            "llama3",
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=32,
        ),
    ),
    Tiny("llama-linear", "llama", rope("linear", factor=4.0)),
    Tiny("llama-yarn", "llama", rope("yarn", factor=4.0, original_max_position_embeddings=64)),
    Tiny("llama-dynamic", "llama", rope("dynamic", factor=2.0)),
    Tiny("llama-full-heads", "llama", {"num_key_value_heads": 4}),
    Tiny("mistral", "mistral", {"sliding_window": 9}),
    Tiny("qwen2", "qwen2", {"tie_word_embeddings": True}),
    Tiny("qwen2-window", "qwen2", {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1}),
    Tiny("qwen3", "qwen3", {"head_dim": 32}),
)


def by_name(name: str) -> Tiny:
    return next(tiny for tiny in MODELS if tiny.name == name)


def make(tiny: Tiny, folder: Path) -> Path:
    """Weights are large enough that greedy decoding has clear winners."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(tiny.family, **{**COMMON, **tiny.own})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator) * (0.1 if parameter.ndim == 1 else 0.25)
            parameter.copy_(1 + noise if "norm" in name else noise)
    model.save_pretrained(folder, max_shard_size="60KB")
    return folder


@lru_cache(maxsize=1)
def oracle(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@torch.inference_mode()
def oracle_logits(folder: Path, ids: list[int]) -> torch.Tensor:
    """f32[len(ids), vocabulary]."""
    return oracle(folder)(input_ids=torch.tensor([ids])).logits[0]


def oracle_greedy(folder: Path, prompt: list[int], new_tokens: int) -> list[int]:
    """Recomputes everything for each token; asserts that no choice is a near tie."""
    ids = list(prompt)
    for _ in range(new_tokens):
        best, second = oracle_logits(folder, ids)[-1].topk(2).values.tolist()
        assert best - second > 1e-4, "choose another seed: rounding could change this token"
        ids.append(int(oracle_logits(folder, ids)[-1].argmax()))
    return ids[len(prompt) :]


def start(folder: Path, **changes: Any) -> tuple[Shard, Driver]:
    """A shard in this process and a driver for it."""
    config = ShardConfig(
        **{
            "model_path": folder,
            "shard_uds_path": "unused",
            "max_sequences": 16,
            "kv_cache_tokens": 2048,
            "device": "cpu",
            **changes,
        }
    )
    shard = assemble(config, lambda phase, message: None)
    return shard, Driver(shard.runner, shard.info.block_size, shard.info.num_blocks)


def prompts(seed: int = 0, lengths: tuple[int, ...] = (1, 3, 20, 33, 8)) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, VOCABULARY, (length,), generator=generator).tolist() for length in lengths]
