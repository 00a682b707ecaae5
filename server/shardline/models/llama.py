"""The Llama family: Llama 2 and 3.x, Mistral, Qwen2 and Qwen3.

They differ in biases, in the norm of queries and keys, in windows and in rope, all of it in
`ModelConfig`. A layer is five fused steps; a backend of products or of attention can take any of
them without this file knowing.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from shardline.attention.base import AttentionContext, QueryKeyNorm
from shardline.layers.linear import ColumnLinear, GatedLinear, Input, Loading, Output, RowLinear
from shardline.layers.split import HeadSplit, split_columns, split_heads
from shardline.layers.vocab import LmHead, VocabEmbedding
from shardline.models.config import ModelConfig
from shardline.ops.base import Hidden, Norm
from shardline.weights.source import Part


@dataclass(frozen=True, slots=True)
class LlamaLayer:
    """Attention and feed-forward, each behind a norm and beside the residual stream."""

    index: int
    input_norm: Norm
    qkv_proj: ColumnLinear
    qk_norm: QueryKeyNorm | None
    o_proj: RowLinear
    post_norm: Norm
    gate_up_proj: GatedLinear
    down_proj: RowLinear

    def __call__(
        self, x: Hidden, context: AttentionContext, next_norm: Norm, needed: Tensor | None = None
    ) -> Hidden:
        """The residual stream after this layer. `next_norm`: of the layer that follows. `needed`: integers[n], the
        rows that are asked for; keys and values are those of all.
        """
        qkv = self.qkv_proj(x, norm=self.input_norm)
        attended = context.attention(self.index, qkv, self.qk_norm)
        if needed is not None:
            x, attended = Hidden(x.values.index_select(0, needed)), attended.index_select(0, needed)
            if not needed.shape[0]:
                return x
        x = self.o_proj(attended, residual=x, next_norm=self.post_norm)
        h = self.gate_up_proj(x, norm=self.post_norm)
        return self.down_proj(h, residual=x, next_norm=next_norm)


@dataclass(frozen=True, slots=True)
class LlamaModel:
    """Token ids → residual stream → logits."""

    embedding: VocabEmbedding
    layers: tuple[LlamaLayer, ...]
    final_norm: Norm
    head: LmHead

    @classmethod
    def load(cls, config: ModelConfig, loading: Loading) -> LlamaModel:
        """Reads this rank's part of the weights."""
        vocab, hidden = config.vocab_size, config.hidden_size
        embedding = VocabEmbedding.load(loading, "model.embed_tokens.weight", vocab, hidden)
        layers = tuple(_load_layer(config, loading, index) for index in range(config.num_layers))
        final_norm = _load_norm(config, loading, "model.norm", hidden)
        if config.tied_embeddings:
            head = LmHead.tied(loading, embedding, vocab)
        else:
            head = LmHead.load(loading, "lm_head.weight", vocab, hidden)
        return cls(embedding, layers, final_norm, head)

    def forward(self, token_ids: Tensor, context: AttentionContext, needed: Tensor | None = None) -> Hidden:
        """The residual stream after the last layer, of all tokens or of those `needed`.

        `token_ids`: i32[tokens]; `needed`: integers[n], places in it. Behind its attention the last layer has
        nothing to compute for the others: of a prompt, all tokens but the last.
        """
        norms = (*(layer.input_norm for layer in self.layers), self.final_norm)
        x = self.embedding(token_ids, next_norm=norms[0])
        for layer, next_norm in zip(self.layers, norms[1:], strict=True):
            x = layer(x, context, next_norm, needed if layer is self.layers[-1] else None)
        return x

    def logits(self, x: Hidden, rows: Tensor | None) -> Tensor:
        """f32[n, vocab_size] of the given rows (`rows`: i64[n]; none: all)."""
        return self.head(x, rows, self.final_norm)


def _load_norm(config: ModelConfig, loading: Loading, name: str, width: int) -> Norm:
    return Norm(loading.reader.read(Part(f"{name}.weight", (width,))), config.norm_epsilon)


def _load_layer(config: ModelConfig, loading: Loading, index: int) -> LlamaLayer:
    name = f"model.layers.{index}"
    group, hidden, dim = loading.group, config.hidden_size, config.head_dim
    heads = split_heads(config.num_heads, config.num_kv_heads, group.rank, group.world_size)
    middle = split_columns(config.intermediate_size, group.rank, group.world_size)
    gate_up = tuple(
        Output(f"{name}.mlp.{part}_proj", config.intermediate_size, middle) for part in ("gate", "up")
    )
    attended = Input(config.num_heads * dim, heads.query.times(dim))
    return LlamaLayer(
        index=index,
        input_norm=_load_norm(config, loading, f"{name}.input_layernorm", hidden),
        qkv_proj=ColumnLinear.load(loading, _qkv(config, name, heads), hidden, config.qkv_bias),
        qk_norm=_load_qk_norm(config, loading, f"{name}.self_attn"),
        o_proj=RowLinear.load(loading, f"{name}.self_attn.o_proj", hidden, attended, config.output_bias),
        post_norm=_load_norm(config, loading, f"{name}.post_attention_layernorm", hidden),
        gate_up_proj=GatedLinear(ColumnLinear.load(loading, gate_up, hidden, config.mlp_bias, gated=True)),
        down_proj=RowLinear.load(
            loading,
            f"{name}.mlp.down_proj",
            hidden,
            Input(config.intermediate_size, middle),
            config.mlp_bias,
        ),
    )


def _qkv(config: ModelConfig, layer: str, heads: HeadSplit) -> tuple[Output, ...]:
    dim = config.head_dim
    key_value = heads.key_value.times(dim)
    return (
        Output(f"{layer}.self_attn.q_proj", config.num_heads * dim, heads.query.times(dim)),
        Output(f"{layer}.self_attn.k_proj", config.num_kv_heads * dim, key_value),
        Output(f"{layer}.self_attn.v_proj", config.num_kv_heads * dim, key_value),
    )


def _load_qk_norm(config: ModelConfig, loading: Loading, name: str) -> QueryKeyNorm | None:
    if not config.qk_norm:
        return None
    return QueryKeyNorm(
        query=_load_norm(config, loading, f"{name}.q_norm", config.head_dim),
        key=_load_norm(config, loading, f"{name}.k_norm", config.head_dim),
    )
