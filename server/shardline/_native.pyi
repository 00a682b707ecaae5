"""The native extension: the shard's endpoint, grammars, and products of few rows on the CPU.

Arrays are packed little-endian `bytes`, element type and length in the comment (`i32[r]`): build a
tensor with `torch.frombuffer(field, dtype=torch.int32)` (an empty field cannot be given to
`frombuffer`; test it first).
"""

from collections.abc import Sequence

class Endpoint:
    """The server of `shardline.v1.Shard` on a Unix socket, in a thread of its own.

    The socket (permissions 0600) replaces a stale one. From the first moment Health answers, with
    PHASE_STARTING. OSError: the socket is served by another process, or cannot be bound.
    """

    def __new__(cls, socket_path: str) -> Endpoint: ...
    def set_phase(self, phase: int, message: str = "") -> None:
        """What Health answers. `phase`: the proto's Phase (1 starting, 2 loading, 3 warm-up, 4 ready,
        5 failed). Info and Execute are served in phase 4 only, after `set_info`."""

    def set_info(
        self,
        *,
        model_type: str,
        dtype: str,
        device: str,
        rank: int,
        world_size: int,
        vocab_size: int,
        max_position: int,
        attention_backend: str,
        block_size: int,
        num_blocks: int,
        bytes_per_block: int,
        max_step_tokens: int,
        max_sequences: int,
        max_top_logprobs: int,
        version: str,
        step_token_edges: Sequence[int],
        features: Sequence[str],
        weight_bytes: int,
        load_s: float,
        warmup_s: float,
        start_phases: Sequence[tuple[str, float]],
    ) -> None:
        """What Info answers (see InfoResponse), and the limits that every step is checked against."""

    def set_grammars(self, grammars: Grammars) -> None:
        """What CompileGrammar asks; without it the call is UNIMPLEMENTED."""

    def next(self, timeout_s: float | None = None) -> Frame | None:
        """Waits for the next step without the GIL; None once the endpoint is closed.

        Raises TimeoutError when no step comes within `timeout_s`; without it there is no limit.

        Steps are checked: array lengths, ids and numbers in their ranges, rows of living sequences,
        at most `max_step_tokens` tokens and `max_sequences` living sequences. Signal handlers run
        while it waits.
        """

    def send(
        self,
        frame: Frame,
        *,
        sequence_ids: bytes = b"",  # u64[s]
        status: bytes = b"",  # u8[s]: RowStatus (0 ok, 1 invalid logits, 2 grammar error)
        token_counts: bytes = b"",  # i32[s]
        token_ids: bytes = b"",  # i32[t], t = sum of token_counts
        logprobs: bytes = b"",  # f32[t] or empty
        top_counts: bytes = b"",  # i32[t] or empty
        top_token_ids: bytes = b"",  # i32[sum of top_counts]
        top_logprobs: bytes = b"",  # f32[sum of top_counts]
        prompt_logprobs: Sequence[PromptLogprobs] = (),
        command_results: Sequence[tuple[int, str]] = (),  # command_id, error ("": done)
        prepare_us: int = 0,
        forward_us: int = 0,
        sample_us: int = 0,
    ) -> bool:
        """Answers `frame` without waiting. False: its session is over and the answer was dropped.

        ValueError: the arrays do not fit together.
        """

    def fail(self, message: str) -> None:
        """Ends the living session with INTERNAL and `message`; the client may open another."""

    def close(self) -> None:
        """Ends the session with UNAVAILABLE and removes the socket; `next` returns None. May be
        called from any thread, and twice."""

class Frame:
    """One step. Order of effects: `drop`, then `commands`, then `new_sequences`, then the rows run."""

    session: int
    """Sessions of this process are counted from 1."""
    session_epoch: int
    new_session: bool
    """The first step of a session: forget all sequences and the KV cache before it."""
    step_id: int
    wait_us: int
    """How long `next` waited for it; `send` reports it."""
    drop: bytes
    """u64[n]"""
    sequence_ids: bytes
    """u64[r]: one entry a row, as in the arrays below."""
    num_tokens: bytes
    """i32[r], ≥ 1"""
    new_block_counts: bytes
    """i32[r], ≥ 0"""
    new_blocks: bytes
    """i32[sum of new_block_counts], in [0, num_blocks)"""
    num_draft_tokens: bytes
    """i32[r] or empty"""
    new_sequences: list[NewSequence]
    commands: list[Command]

class NewSequence:
    sequence_id: int
    token_ids: bytes
    """i32[n], n ≥ 1, in [0, vocab_size)"""
    num_prompt_tokens: int
    """In [0, n]."""
    num_cached_tokens: int
    """In [0, n), a multiple of the block size."""
    seed: int
    choice: int
    sampling: Sampling
    block_ids: bytes
    """i32[b], in [0, num_blocks)"""
    grammar: Grammar | None
    adapter: str | None

class Sampling:
    """Defaults applied, every number finite and in its range."""

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    typical_p: float
    repetition_penalty: float
    frequency_penalty: float
    presence_penalty: float
    logprobs: bool
    top_logprobs: int
    prompt_logprobs: bool
    prompt_top_logprobs: int
    min_tokens: int
    stop_token_ids: bytes
    """i32[n]"""
    allowed_token_ids: bytes
    """i32[n]; empty: all"""
    logit_bias_ids: bytes
    """i32[n]"""
    logit_bias_values: bytes
    """f32[n]"""

class Grammar:
    kind: str
    """"json_schema", "regex" or "lark"."""
    source: str

class Command:
    command_id: int
    kind: str
    """"load_adapter" or "unload_adapter"."""
    name: str
    path: str | None

class PromptLogprobs:
    """For `Endpoint.send`: what a step computed of one sequence's prompt, n positions."""

    def __new__(
        cls,
        *,
        sequence_id: int,
        first_position: int,
        logprobs: bytes,  # f32[n]; NaN at position 0
        top_counts: bytes = b"",  # i32[n] or empty
        top_token_ids: bytes = b"",  # i32[sum of top_counts]
        top_logprobs: bytes = b"",  # f32[sum of top_counts]
    ) -> PromptLogprobs: ...

class Grammars:
    """Compiled grammars, and the sequences that follow them, in threads of their own.

    A mask is a row of i32[mask_words]: the bit of token t is bit t % 32 of word t // 32, set when t
    may come next. A sequence is known by its handle, which is never used twice.
    """

    def __new__(cls, model_path: str, *, vocab_size: int, threads: int) -> Grammars:
        """Reads the tokenizer of a model folder or .gguf file, without the GIL.

        `threads`: that compute masks, beside the one that waits for them. ValueError: there is no
        tokenizer, or none whose tokens have bytes of their own.
        """

    @property
    def mask_words(self) -> int:
        """ceil(vocab_size / 32)"""

    def admit(self, kind: str, source: str, generated: bytes) -> int:
        """A sequence begins; its handle. `kind`: "json_schema", "regex" or "lark". `generated`: i32[n],
        the tokens it has generated before. Whether the grammar can be followed shows in `fill`."""

    def release(self, handle: int) -> None:
        """The sequence is gone."""

    def reset(self) -> None:
        """All sequences are gone; compiled grammars stay."""

    def advance(self, handles: bytes, tokens: bytes) -> None:
        """Sampled tokens i32[n] of the sequences u64[n]; those that are gone are passed. Begins their
        next masks and does not wait."""

    def fill(self, handles: bytes, generated: bytes, out: int) -> bytes:
        """Waits without the GIL for the masks of the sequences u64[n] after `generated` tokens, i32[n],
        and writes them to `out`, the address of i32[n, mask_words].

        u8[n]: 0 the text can go on, 1 only its end may come, 2 its grammar could not be compiled or
        followed (the row allows everything; the sequence is to be ended).
        """

    def apply(self, masks: int, logits: int, rows: bytes, vocab_size: int) -> None:
        """Makes logits that may not come minus infinity, without the GIL. `masks`: address of
        i32[n, mask_words]; `logits`: of f32[*, vocab_size], dense; `rows`: i32[n], which of them."""

    def close(self) -> None:
        """Ends the threads; waits for masks end with state 2."""

class PackedWeight:
    """A float32 weight in the order in which products read it, made by `Products.pack`."""

    @property
    def inputs(self) -> int: ...
    @property
    def outputs(self) -> int:
        """Outputs of a row of x: the weight's rows, or half of them when it is gated."""

    @property
    def gated(self) -> bool: ...
    @property
    def bytes(self) -> int: ...

class Products:
    """Computes products on `threads` threads, the caller's included.

    A row's result is the same bit for bit whatever other rows come with it.
    """

    def __new__(cls, threads: int) -> Products: ...
    @property
    def instructions(self) -> str:
        """ "avx512", "avx2" or "portable"."""

    def pack(self, address: int, *, rows: int, inputs: int, gated: bool) -> PackedWeight:
        """A copy of the weight f32[rows, inputs], dense, at `address`.

        `gated`: the first half of the rows is gate, the second up. ValueError: a shape that cannot be.
        """

    def linear(
        self,
        weight: PackedWeight,
        x: int,
        rows: int,
        out: int,
        *,
        bias: int = 0,
        norm: int = 0,
        epsilon: float = 0.0,
        add: bool = False,
    ) -> None:
        """`out = rmsnorm(x) @ weight.T + bias`, or `silu(gate) * up` of a gated weight, without the GIL.

        `x`, `out`, `bias`, `norm`: addresses of dense float32 numbers, [rows, inputs], [rows, outputs],
        one for each row of the weight, and [inputs]; 0 leaves bias or norm out. `add`: onto what `out`
        holds. Nothing but null and misaligned addresses can be checked here: the caller answers for the
        rest, and `out` overlaps nothing else.
        """
