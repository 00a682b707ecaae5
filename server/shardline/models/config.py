"""What a model folder says about its model: `config.json`, parsed once into a typed value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shardline.layers.rope import RopeConfig

Json = Mapping[str, Any]


class ModelConfigError(ValueError):
    """The model's config cannot be served. Says the field, the given value and what is expected."""

    def __init__(self, field: str, given: object, expected: str) -> None:
        super().__init__(f"config.json: {field} is {given!r}; expected {expected}")
        self.field = field


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A decoder of the Llama family.

    `windows`: per layer how many positions a token sees, itself included; none: all of them.
    `qkv_bias`, `output_bias`, `mlp_bias`: which products have a bias. `qk_norm`: RMSNorm over each
    head of queries and keys. `max_position`: longest sequence in tokens.
    `dtype`: the name of the stored type, or none.
    """

    model_type: str
    architecture: str
    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    norm_epsilon: float
    max_position: int
    rope: RopeConfig
    tied_embeddings: bool
    qkv_bias: bool
    output_bias: bool
    mlp_bias: bool
    qk_norm: bool
    windows: tuple[int | None, ...]
    dtype: str | None


class _Fields:
    """Typed access to a JSON object; every error names the field."""

    def __init__(self, values: Json) -> None:
        self._values = values

    def get(self, name: str) -> object:
        return self._values.get(name)

    def positive(self, name: str, default: int | None = None) -> int:
        value = self._values.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**31:
            raise ModelConfigError(name, value, "a positive whole number")
        return value

    def number(self, name: str, default: float) -> float:
        value = self._values.get(name)
        if value is None:
            return default
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e30:
            raise ModelConfigError(name, value, "a positive number")
        return float(value)

    def flag(self, name: str, default: bool = False) -> bool:
        value = self._values.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise ModelConfigError(name, value, "true or false")
        return value


def architecture_of(values: Json) -> str:
    """The first of `architectures`, which picks the model class."""
    names = values.get("architectures")
    if not isinstance(names, list) or not names or not isinstance(names[0], str):
        raise ModelConfigError("architectures", names, "a list with the name of the model class")
    return names[0]


def refuse_remote_code(values: Json, trusted: bool) -> None:
    """A repository that brings its own code is refused unless that was allowed."""
    if values.get("auto_map") and not trusted:
        raise ModelConfigError(
            "auto_map",
            values["auto_map"],
            "none: this model brings its own code, which runs only with --trust-remote-code",
        )


def parse_config(values: Json, trust_remote_code: bool = False) -> ModelConfig:
    """Reads a `config.json`. Which families there are: `models.registry`."""
    refuse_remote_code(values, trust_remote_code)
    fields = _Fields(values)
    model_type = values.get("model_type")
    if not isinstance(model_type, str):
        raise ModelConfigError("model_type", model_type, "the name of a model family")
    activation = values.get("hidden_act", "silu")
    if activation != "silu":
        raise ModelConfigError("hidden_act", activation, "'silu'")
    if values.get("quantization_config"):
        raise ModelConfigError(
            "quantization_config",
            values["quantization_config"],
            "none: quantized weights are not supported yet",
        )
    num_heads = fields.positive("num_attention_heads")
    num_kv_heads = fields.positive("num_key_value_heads", num_heads)
    if num_heads % num_kv_heads:
        raise ModelConfigError("num_key_value_heads", num_kv_heads, f"a divisor of {num_heads}")
    hidden = fields.positive("hidden_size")
    head_dim = fields.positive("head_dim", max(1, hidden // num_heads))
    num_layers = fields.positive("num_hidden_layers")
    rope = RopeConfig.parse(values, head_dim)
    attention_bias = fields.flag("attention_bias")
    dtype = values.get("dtype", values.get("torch_dtype"))
    return ModelConfig(
        model_type=model_type,
        architecture=architecture_of(values),
        vocab_size=fields.positive("vocab_size"),
        hidden_size=hidden,
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        intermediate_size=fields.positive("intermediate_size"),
        norm_epsilon=fields.number("rms_norm_eps", 1e-6),
        max_position=rope.longest(fields.positive("max_position_embeddings", 2048)),
        rope=rope,
        tied_embeddings=fields.flag("tie_word_embeddings"),
        qkv_bias=model_type == "qwen2" or attention_bias,
        output_bias=model_type != "qwen2" and attention_bias,
        mlp_bias=fields.flag("mlp_bias"),
        qk_norm=model_type == "qwen3",
        windows=_windows(fields, model_type, num_layers),
        dtype=dtype if isinstance(dtype, str) else None,
    )


def _windows(fields: _Fields, model_type: str, num_layers: int) -> tuple[int | None, ...]:
    """Mistral: one window for all layers. Qwen: only with `use_sliding_window`, in some layers."""
    if fields.get("sliding_window") is None:
        return (None,) * num_layers
    window = fields.positive("sliding_window")
    kinds = fields.get("layer_types")
    if isinstance(kinds, list):
        if len(kinds) != num_layers:
            raise ModelConfigError("layer_types", kinds, f"{num_layers} entries, one a layer")
        return tuple(window if kind == "sliding_attention" else None for kind in kinds)
    if model_type == "mistral":
        return (window,) * num_layers
    if not fields.flag("use_sliding_window"):
        return (None,) * num_layers
    first = fields.get("max_window_layers")
    first = first if isinstance(first, int) else num_layers
    return tuple(window if layer >= first else None for layer in range(num_layers))
