"""GGUF as a weight source: names as Hugging Face has them, values dequantized when read.

Files of the llama architecture store query and key rows permuted for interleaved rope; they are put
back, so that one rope serves all sources.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import torch
from gguf.quants import dequantize
from torch import Tensor

from shardline.weights.gguf_file import GgufFile, Scalar, TensorInfo
from shardline.weights.source import Part, WeightError, WeightSource

OUTER_NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)")
ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
ROPE_DIVISORS = "rope_freqs.weight"


def gguf_name(name: str) -> str | None:
    """`model.layers.3.mlp.up_proj.weight` → `blk.3.ffn_up.weight`."""
    if name in OUTER_NAMES:
        return OUTER_NAMES[name]
    match = LAYER.fullmatch(name)
    if match is None or match[2] not in LAYER_NAMES:
        return None
    return f"blk.{match[1]}.{LAYER_NAMES[match[2]]}.{match[3]}"


def _narrow(values: Tensor, part: Part) -> Tensor:
    return values if part.length < 0 else values.narrow(part.dim, part.start, part.length)


class GgufSource(WeightSource):
    """The tensors of one GGUF file."""

    def __init__(self, file: GgufFile) -> None:
        self._file = file
        self._facts = _Facts(file)
        self._permuted = self._facts.architecture == "llama"

    def _info(self, name: str) -> TensorInfo:
        stored = gguf_name(name)
        info = self._file.tensors.get(stored) if stored else None
        if info is None:
            raise WeightError(f"weight {name} is not in {self._file.path}")
        return info

    def has(self, name: str) -> bool:
        stored = gguf_name(name)
        return stored is not None and stored in self._file.tensors

    def shape(self, name: str) -> tuple[int, ...] | None:
        return self._info(name).shape

    def read(self, part: Part) -> Tensor:
        info = self._info(part.name)
        order = self._row_order(part.name, info.shape[0])
        stored = self._file.stored(info)
        if len(info.shape) == 1:
            values = dequantize(stored, info.kind).reshape(-1)[order]
            return _narrow(torch.from_numpy(np.array(values, dtype=np.float32)), part)
        rows = stored[order]
        if part.dim != 0 or part.length < 0:
            return _narrow(torch.from_numpy(np.array(dequantize(rows, info.kind), dtype=np.float32)), part)
        rows = rows[part.start : part.start + part.length]
        return torch.from_numpy(np.array(dequantize(rows, info.kind), dtype=np.float32))

    def _row_order(self, name: str, rows: int) -> npt.NDArray[np.int64] | slice:
        """Which stored row each row is. Stored pairs lie beside each other: 0, 0', 1, 1', …"""
        heads = {"q_proj": self._facts.num_heads, "k_proj": self._facts.num_kv_heads}
        count = heads.get(name.split(".")[-2])
        if not self._permuted or count is None:
            return slice(None)
        if rows % (2 * count):
            raise WeightError(f"weight {name} has {rows} rows, not pairs for {count} heads")
        return np.arange(rows).reshape(count, rows // count // 2, 2).swapaxes(1, 2).reshape(-1)


class _Facts:
    """The metadata under the architecture's prefix."""

    def __init__(self, file: GgufFile) -> None:
        self._file = file
        name = file.metadata.get("general.architecture")
        if name not in ARCHITECTURES:
            raise WeightError(
                f"{file.path} is of architecture {name!r}; supported in GGUF: {', '.join(ARCHITECTURES)}"
            )
        self.architecture = str(name)
        self.num_heads = self.whole("attention.head_count")
        self.num_kv_heads = self.whole("attention.head_count_kv", self.num_heads)

    def get(self, key: str) -> Scalar | None:
        return self._file.metadata.get(f"{self.architecture}.{key}")

    def whole(self, key: str, default: int | None = None) -> int:
        value = self.get(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, int) or not 0 < value < 2**31:
            raise WeightError(
                f"{self._file.path}: {self.architecture}.{key} is {value!r}; a positive whole number is needed"
            )
        return value

    def number(self, key: str, default: float) -> float:
        value = self.get(key)
        return float(value) if isinstance(value, int | float) else default


def gguf_config(file: GgufFile) -> dict[str, object]:
    """The file's metadata in the words of a `config.json`."""
    facts = _Facts(file)
    embeddings = file.tensors.get("token_embd.weight")
    if embeddings is None:
        raise WeightError(f"{file.path} has no token_embd.weight")
    hidden = facts.whole("embedding_length")
    rope: dict[str, object] = {"rope_theta": facts.number("rope.freq_base", 10000.0), "rope_type": "default"}
    scaling = facts.get("rope.scaling.type")
    if scaling in ("linear", "yarn"):
        rope["rope_type"] = scaling
        rope["factor"] = facts.number("rope.scaling.factor", 1.0)
        if facts.get("rope.scaling.original_context_length") is not None:
            rope["original_max_position_embeddings"] = facts.whole("rope.scaling.original_context_length")
    return {
        "architectures": [ARCHITECTURES[facts.architecture]],
        "model_type": facts.architecture,
        "vocab_size": embeddings.shape[0],
        "hidden_size": hidden,
        "num_hidden_layers": facts.whole("block_count"),
        "num_attention_heads": facts.num_heads,
        "num_key_value_heads": facts.num_kv_heads,
        "head_dim": facts.whole("attention.key_length", max(1, hidden // facts.num_heads)),
        "intermediate_size": facts.whole("feed_forward_length"),
        "rms_norm_eps": facts.number("attention.layer_norm_rms_epsilon", 1e-6),
        "max_position_embeddings": facts.whole("context_length"),
        "rope_parameters": rope,
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "attention_bias": facts.architecture == "llama" and "blk.0.attn_q.bias" in file.tensors,
    }


def rope_divisors(file: GgufFile) -> tuple[float, ...] | None:
    """By what each rope frequency is divided: Llama 3.1's scaling as a tensor."""
    info = file.tensors.get(ROPE_DIVISORS)
    if info is None:
        return None
    return tuple(dequantize(file.stored(info), info.kind).reshape(-1).tolist())
