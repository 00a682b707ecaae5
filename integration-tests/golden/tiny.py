"""Tiny random models of the supported families, made by `transformers` from a configuration.

Weights are drawn from a fixed seed, large enough that greedy decoding has clear winners; the folder
holds sharded safetensors, so that the reading of an index is tested too.
"""

import tempfile
from pathlib import Path

import torch

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
VOCAB = 320
_COMMON = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
# Chosen so that no golden comes near a tie.
_SEED = {"llama": 1, "mistral": 2, "qwen2": 3, "qwen3": 5}
_OWN = {
    "llama": {
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 10000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
        "tie_word_embeddings": False,
    },
    "mistral": {"sliding_window": 48, "tie_word_embeddings": False},
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": {"head_dim": 32, "tie_word_embeddings": False},
}


def make(family: str, folder: Path | None = None) -> Path:
    """Writes the model of `family` (config, sharded safetensors, tokenizer) and returns its folder."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(family, **_COMMON, **_OWN[family])
    generator = torch.Generator().manual_seed(_SEED[family])
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            scale = 0.1 if parameter.ndim == 1 else 0.25
            noise = torch.randn(parameter.shape, generator=generator) * scale
            parameter.copy_(1 + noise if "norm" in name else noise)
    folder = folder or Path(tempfile.mkdtemp(prefix=f"shardline-tiny-{family}-"))
    model.save_pretrained(folder, max_shard_size="150KB")
    write_tokenizer(folder)
    return folder


def write_tokenizer(folder: Path) -> None:
    """A word-level tokenizer over `t0 … tN`, `<s>` and `</s>`, enough for text routes."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {"<pad>": 0, "<s>": 1, "</s>": 2, **{f"t{i}": i for i in range(3, VOCAB)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="t3"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    fast.chat_template = "{% for m in messages %}{{ m.content }} {% endfor %}"
    fast.save_pretrained(folder)


def prompt_ids() -> list[list[int]]:
    """Six prompts of 1 to 130 tokens."""
    generator = torch.Generator().manual_seed(7)
    lengths = (1, 5, 17, 33, 70, 130)
    return [torch.randint(3, VOCAB, (n,), generator=generator).tolist() for n in lengths]
