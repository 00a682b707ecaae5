"""One step as it comes and one outcome as it goes, in plain values.

Arrays are packed little-endian bytes, as on the wire; the element type is in the comment. The
native endpoint's own objects have the same attributes (see `Frame`, `NewSequence`), so nothing is
copied to make them fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

import numpy as np
import numpy.typing as npt

I32 = npt.NDArray[np.int32]
U64 = npt.NDArray[np.uint64]
F32 = npt.NDArray[np.float32]


class Phase(IntEnum):
    """`shardline.v1.Phase`."""

    STARTING = 1
    LOADING = 2
    WARMUP = 3
    READY = 4
    FAILED = 5


class RowStatus(IntEnum):
    """`shardline.v1.RowStatus`."""

    OK = 0
    INVALID_LOGITS = 1
    GRAMMAR_ERROR = 2


class SamplingFields(Protocol):
    """`shardline.v1.SamplingParameters` with its defaults applied."""

    @property
    def temperature(self) -> float: ...
    @property
    def top_k(self) -> int: ...
    @property
    def top_p(self) -> float: ...
    @property
    def min_p(self) -> float: ...
    @property
    def typical_p(self) -> float: ...
    @property
    def repetition_penalty(self) -> float: ...
    @property
    def frequency_penalty(self) -> float: ...
    @property
    def presence_penalty(self) -> float: ...
    @property
    def logprobs(self) -> bool: ...
    @property
    def top_logprobs(self) -> int: ...
    @property
    def prompt_logprobs(self) -> bool: ...
    @property
    def prompt_top_logprobs(self) -> int: ...
    @property
    def min_tokens(self) -> int: ...
    @property
    def stop_token_ids(self) -> bytes: ...
    @property
    def allowed_token_ids(self) -> bytes: ...
    @property
    def logit_bias_ids(self) -> bytes: ...
    @property
    def logit_bias_values(self) -> bytes: ...


class GrammarFields(Protocol):
    """`shardline.v1.Grammar`. `kind`: "json_schema", "regex" or "lark"."""

    @property
    def kind(self) -> str: ...
    @property
    def source(self) -> str: ...


class NewSequenceFields(Protocol):
    """`shardline.v1.NewSequence`."""

    @property
    def sequence_id(self) -> int: ...
    @property
    def token_ids(self) -> bytes: ...
    @property
    def num_prompt_tokens(self) -> int: ...
    @property
    def num_cached_tokens(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def choice(self) -> int: ...
    @property
    def sampling(self) -> SamplingFields: ...
    @property
    def block_ids(self) -> bytes: ...
    @property
    def grammar(self) -> GrammarFields | None: ...
    @property
    def adapter(self) -> str | None: ...


class CommandFields(Protocol):
    """`shardline.v1.Command`. `kind`: "load_adapter" or "unload_adapter"."""

    @property
    def command_id(self) -> int: ...
    @property
    def kind(self) -> str: ...


class FrameFields(Protocol):
    """`shardline.v1.StepRequest`, checked. `new_session`: everything is forgotten before it."""

    @property
    def step_id(self) -> int: ...
    @property
    def new_session(self) -> bool: ...
    @property
    def commands(self) -> Sequence[CommandFields]: ...
    @property
    def drop(self) -> bytes: ...
    @property
    def new_sequences(self) -> Sequence[NewSequenceFields]: ...
    @property
    def sequence_ids(self) -> bytes: ...
    @property
    def num_tokens(self) -> bytes: ...
    @property
    def new_block_counts(self) -> bytes: ...
    @property
    def new_blocks(self) -> bytes: ...
    @property
    def num_draft_tokens(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class SamplingParameters:
    """See `SamplingFields`; i32[n] and f32[n] in the bytes."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logprobs: bool = False
    top_logprobs: int = 0
    prompt_logprobs: bool = False
    prompt_top_logprobs: int = 0
    min_tokens: int = 0
    stop_token_ids: bytes = b""
    allowed_token_ids: bytes = b""
    logit_bias_ids: bytes = b""
    logit_bias_values: bytes = b""


@dataclass(frozen=True, slots=True)
class Grammar:
    """See `GrammarFields`."""

    kind: str
    source: str


@dataclass(frozen=True, slots=True)
class NewSequence:
    """A sequence the shard has not seen. `token_ids`: i32[n]. `block_ids`: i32[b]."""

    sequence_id: int
    token_ids: bytes
    num_prompt_tokens: int
    num_cached_tokens: int = 0
    seed: int = 0
    choice: int = 0
    sampling: SamplingParameters = field(default_factory=SamplingParameters)
    block_ids: bytes = b""
    grammar: Grammar | None = None
    adapter: str | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """Something to do besides running rows."""

    command_id: int
    kind: str


@dataclass(frozen=True, slots=True)
class Frame:
    """One step. `drop`, `sequence_ids`: u64. `num_tokens`, `new_block_counts`, `new_blocks`: i32."""

    step_id: int
    new_session: bool = False
    commands: tuple[Command, ...] = ()
    drop: bytes = b""
    new_sequences: tuple[NewSequence, ...] = ()
    sequence_ids: bytes = b""
    num_tokens: bytes = b""
    new_block_counts: bytes = b""
    new_blocks: bytes = b""
    num_draft_tokens: bytes = b""


@dataclass(frozen=True, slots=True)
class PromptLogprobs:
    """Log-probabilities of prompt tokens at positions [first_position, first_position + n).

    `logprobs`: f32[n], of the token at each position given those before it; position 0 is NaN.
    `top_counts`: i32[n]. `top_token_ids`: i32[sum], `top_logprobs`: f32[sum], most likely first.
    """

    sequence_id: int
    first_position: int
    logprobs: F32
    top_counts: I32
    top_token_ids: I32
    top_logprobs: F32


@dataclass(frozen=True, slots=True)
class StepTimings:
    """Microseconds."""

    prepare_us: int = 0
    forward_us: int = 0
    sample_us: int = 0


def _no_i32() -> I32:
    return np.empty(0, np.int32)


def _no_f32() -> F32:
    return np.empty(0, np.float32)


@dataclass(frozen=True, slots=True)
class Outcome:
    """`shardline.v1.StepResponse`: one entry a row that sampled or failed."""

    step_id: int
    sequence_ids: U64 = field(default_factory=lambda: np.empty(0, np.uint64))
    status: npt.NDArray[np.uint8] = field(default_factory=lambda: np.empty(0, np.uint8))
    token_counts: I32 = field(default_factory=_no_i32)
    token_ids: I32 = field(default_factory=_no_i32)
    logprobs: F32 = field(default_factory=_no_f32)
    top_counts: I32 = field(default_factory=_no_i32)
    top_token_ids: I32 = field(default_factory=_no_i32)
    top_logprobs: F32 = field(default_factory=_no_f32)
    timings: StepTimings = field(default_factory=StepTimings)
    prompt_logprobs: tuple[PromptLogprobs, ...] = ()
    command_results: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ShardInfo:
    """`shardline.v1.InfoResponse`. `start_phases`: names and seconds."""

    model_type: str
    dtype: str
    device: str
    rank: int
    world_size: int
    vocab_size: int
    max_position: int
    attention_backend: str
    block_size: int
    num_blocks: int
    bytes_per_block: int
    max_step_tokens: int
    max_sequences: int
    max_top_logprobs: int
    version: str
    step_token_edges: tuple[int, ...]
    features: tuple[str, ...]
    weight_bytes: int
    load_s: float
    warmup_s: float
    start_phases: tuple[tuple[str, float], ...]


class Endpoint(Protocol):
    """What the runner asks of the wire."""

    def next(self, timeout_s: float | None = None) -> FrameFields | None:
        """Waits for the next step; none when the endpoint is shut down.

        Raises `TimeoutError` when none comes within `timeout_s`.
        """
        ...

    def send(self, frame: FrameFields, outcome: Outcome) -> None:
        """Answers a step. An answer to a session that is gone is dropped."""
        ...

    def fail(self, message: str) -> None:
        """Ends the living session with an error for its client; it may open another."""
        ...

    def close(self) -> None:
        """Ends everything; `next` returns none."""
        ...
