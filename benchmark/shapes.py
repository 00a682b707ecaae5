"""Model folders without weights for `--load-format dummy`: the "8b", "1b" and "70b" shapes of the benchmarks."""

import json
from dataclasses import dataclass
from pathlib import Path

VOCABULARY = 128256
_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


@dataclass(frozen=True, slots=True)
class Shape:
    """The numbers of a Llama, all counts of elements."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    tied: bool

    @property
    def product_parameters(self) -> int:
        """Weights that every token is multiplied with: linears and the head, not the embedding's lookup."""
        qkv = self.hidden * (self.heads + 2 * self.kv_heads) * self.head_dim
        out = self.heads * self.head_dim * self.hidden
        mlp = 3 * self.hidden * self.intermediate
        return self.layers * (qkv + out + mlp) + VOCABULARY * self.hidden

    def kv_bytes_per_token(self, element_bytes: int = 2) -> int:
        return self.layers * 2 * self.kv_heads * self.head_dim * element_bytes


SHAPES = {
    "8b": Shape(4096, 32, 32, 8, 128, 14336, tied=False),
    "70b": Shape(8192, 80, 64, 8, 128, 28672, tied=False),
    "1b": Shape(2048, 16, 32, 8, 64, 8192, tied=True),
}


def make(name: str, folder: Path) -> Path:
    """Writes config.json and a word-level tokenizer over `t0 … t127999` and returns the folder."""
    shape = SHAPES[name]
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "intermediate_size": shape.intermediate,
        "vocab_size": VOCABULARY,
        "tie_word_embeddings": shape.tied,
        "rope_theta": 500000.0,
        "rope_scaling": _LLAMA3,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "bos_token_id": 128000,
        "eos_token_id": 128001,
        "torch_dtype": "bfloat16",
    }
    words = {f"t{i}": i for i in range(128000)} | {"<s>": 128000, "</s>": 128001}
    special = [
        {
            "id": i,
            "content": text,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for text, i in (("<s>", 128000), ("</s>", 128001))
    ]
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": words, "unk_token": "t0"},
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>"}))
    return folder


def limit_tok_s(
    shape: Shape,
    concurrency: int,
    prompts: int,
    prompt_tokens: int,
    output_tokens: int,
    bytes_s: float,
    flop_s: float,
) -> float:
    """Output tokens a second if nothing but the card's memory and matrix units took time.

    Prefill runs at the measured matmul rate; every decode step reads all weights and the KV of its rows
    (half of the answer on average) at the measured copy rate, or multiplies at the matmul rate, whichever
    takes longer.
    """
    prefill_s = prompts * prompt_tokens * 2 * shape.product_parameters / flop_s
    context = prompt_tokens + output_tokens / 2
    read_s = (2 * shape.product_parameters + concurrency * context * shape.kv_bytes_per_token()) / bytes_s
    multiply_s = concurrency * 2 * shape.product_parameters / flop_s
    steps = prompts * output_tokens / concurrency
    return prompts * output_tokens / (prefill_s + steps * max(read_s, multiply_s))
