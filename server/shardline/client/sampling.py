"""How tokens are drawn."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from google.protobuf.message import Message

from shardline.client.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Grammar:
    """What generated text must match; the model's own end-of-text token may come where it is complete.

    Give that token among the stop tokens: it is how the text ends.
    """

    kind: Literal["json_schema", "regex", "lark"]
    source: str
    """A JSON schema as text, a regular expression of the whole text, or a grammar from its rule `start`."""

    def fill(self, message: Message) -> None:
        """Writes a Grammar message."""
        if self.kind not in KINDS:
            raise InvalidRequest(f"grammar.kind is {self.kind!r}; {', '.join(KINDS)} are known")
        setattr(message, self.kind, self.source)


KINDS = ("json_schema", "regex", "lark")


@dataclass(frozen=True, slots=True)
class Sampling:
    """One prompt's parameters; the defaults leave the model's distribution as it is.

    The shard checks them and names the one that is outside its range.
    """

    temperature: float = 1.0
    """At least 0; 0 takes the most likely token."""
    top_k: int = 0
    """Only this many most likely tokens; 0: all."""
    top_p: float = 1.0
    """In (0, 1]: only the most likely tokens that together have this probability."""
    min_p: float = 0.0
    """In [0, 1]: only tokens with this share of the most likely one's probability."""
    typical_p: float = 1.0
    """In (0, 1]: like top_p, by how near a token's information is to the distribution's entropy."""
    repetition_penalty: float = 1.0
    """Above 0; over prompt and generated tokens."""
    frequency_penalty: float = 0.0
    """Over generated tokens."""
    presence_penalty: float = 0.0
    """Over generated tokens."""
    logprobs: bool = False
    """Return each token's log-probability."""
    top_logprobs: int = 0
    """And those of this many most likely tokens (at most the shard's max_top_logprobs)."""
    min_tokens: int = 0
    """Generated tokens before which no stop token is drawn, unless a grammar leaves nothing else."""
    allowed_token_ids: tuple[int, ...] = ()
    """Only these; empty: all."""
    logit_bias: dict[int, float] = field(default_factory=dict)
    """Added to the logits of these tokens."""
    grammar: Grammar | None = None
    """What the text must match; see `ShardClient.compile_grammar`."""

    def fill(self, message: Message, stop_token_ids: tuple[int, ...]) -> None:
        """Writes the parameters into a SamplingParameters message."""
        for name in _SAME_NAME:
            setattr(message, name, getattr(self, name))
        message.stop_token_ids = i32(stop_token_ids)  # type: ignore[attr-defined]
        message.allowed_token_ids = i32(self.allowed_token_ids)  # type: ignore[attr-defined]
        message.logit_bias_ids = i32(tuple(self.logit_bias))  # type: ignore[attr-defined]
        values = np.array(list(self.logit_bias.values()), dtype="<f4")
        message.logit_bias_values = values.tobytes()  # type: ignore[attr-defined]


_SAME_NAME = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "logprobs",
    "top_logprobs",
    "min_tokens",
)


def i32(values: tuple[int, ...] | list[int]) -> bytes:
    """Packed little-endian i32[n]."""
    return np.array(values, dtype="<i4").tobytes()
