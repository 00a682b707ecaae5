"""`ShardClient`: a shard's calls as plain Python."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from types import TracebackType
from typing import Any

import grpc

from shardline.client.errors import InvalidRequest, ShardBusy, from_rpc
from shardline.client.sampling import Grammar, Sampling
from shardline.client.schedule import Capacity, Request, Schedule, Token
from shardline.client.session import Session
from shardline.client.wire import MAX_MESSAGE_BYTES, SERVICE, message_class

GRAMMAR_OK = 0
GRAMMAR_BUSY = 4


class Phase(IntEnum):
    """`shardline.v1.Phase`."""

    UNSPECIFIED = 0
    STARTING = 1
    LOADING = 2
    WARMUP = 3
    READY = 4
    FAILED = 5


@dataclass(frozen=True, slots=True)
class Health:
    """Where the shard stands. `message`: one sentence, the cause when it failed."""

    phase: Phase
    message: str


@dataclass(frozen=True, slots=True)
class Info:
    """What the shard serves; see InfoResponse in the proto."""

    model_type: str
    dtype: str
    device: str
    rank: int
    world_size: int
    attention_backend: str
    max_top_logprobs: int
    version: str
    features: tuple[str, ...]
    capacity: Capacity


class ShardClient:
    """A client of one shard group. Not for use from several threads at once."""

    def __init__(self, channels: Sequence[tuple[grpc.Channel, str]], timeout_s: float) -> None:
        self._channels = channels
        self._timeout_s = timeout_s

    @classmethod
    def connect(cls, *addresses: str, timeout_s: float = 10.0) -> ShardClient:
        """A client of the shard at a socket's path (or host:port), one address for each rank in order.

        `timeout_s`: of info and health. Nothing is sent yet: a shard that is not there is told by the
        first call.
        """
        if not addresses:
            raise InvalidRequest("no address is given; give the socket's path of every rank")
        return cls([(_channel(address), address) for address in addresses], timeout_s)

    def health(self) -> Health:
        """Of rank 0. Raises ShardUnavailable when nobody listens."""
        response = self._call("Health")
        return Health(Phase(response.phase), response.message)

    def info(self) -> Info:
        """Of rank 0. Raises ShardUnavailable, with the phase, until the shard is ready."""
        response = self._call("Info")
        (group,) = response.kv_groups
        return Info(
            model_type=response.model_type,
            dtype=response.dtype,
            device=response.device,
            rank=response.rank,
            world_size=response.world_size,
            attention_backend=response.attention_backend,
            max_top_logprobs=response.max_top_logprobs,
            version=response.version,
            features=tuple(response.features),
            capacity=Capacity(
                vocab_size=response.vocab_size,
                max_position=response.max_position,
                block_size=group.block_size,
                num_blocks=group.num_blocks,
                max_step_tokens=response.max_step_tokens,
                max_sequences=response.max_sequences,
            ),
        )

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int,
        sampling: Sampling | Sequence[Sampling] | None = None,
        stop_token_ids: Sequence[int] = (),
        seed: int | None = None,
    ) -> Iterator[Token]:
        """Generates for all prompts together, in one exclusive session.

        `prompts`: token ids, each list at least one. `sampling`: for all, or one for each prompt; none
        is the default. `stop_token_ids`: a prompt ends after one of them. `seed`: 64 bits; with it, the
        prompt's index and the position every random number is fixed; none takes a random one.

        Yields tokens as they come, those of one prompt in order; a prompt's last one has `finish` set.
        The session ends with the iterator: exhaust it or close it.

        Raises InvalidRequest for what this shard can never run, before anything is sent; ShardBusy
        beside another client's session; ShardUnavailable while the shard is not ready; ShardFailed
        when it breaks off.
        """
        requests = self._requests(prompts, max_new_tokens, sampling, stop_token_ids, seed)
        info = self.info()
        if info.world_size != len(self._channels):
            raise InvalidRequest(
                f"the group has {info.world_size} ranks and {len(self._channels)} addresses are given; "
                f"give one for each rank"
            )
        return self._run(Schedule(info.capacity, requests))

    def _run(self, schedule: Schedule) -> Iterator[Token]:
        session = Session(self._channels)
        try:
            while (step := schedule.next_step()) is not None:
                yield from schedule.apply(session.run(step))
        finally:
            session.close()

    @staticmethod
    def _requests(
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int,
        sampling: Sampling | Sequence[Sampling] | None,
        stop_token_ids: Sequence[int],
        seed: int | None,
    ) -> list[Request]:
        if sampling is None or isinstance(sampling, Sampling):
            sampling = [sampling or Sampling()] * len(prompts)
        if len(sampling) != len(prompts):
            raise InvalidRequest(f"there are {len(sampling)} sampling parameters for {len(prompts)} prompts")
        base = secrets.randbits(64) if seed is None else seed
        return [
            Request(tuple(prompt), max_new_tokens, parameters, tuple(stop_token_ids), (base + index) % 2**64)
            for index, (prompt, parameters) in enumerate(zip(prompts, sampling, strict=True))
        ]

    def compile_grammar(self, grammar: Grammar) -> None:
        """Has the shard compile a grammar and keep it, so that no step waits for that.

        Raises InvalidRequest when the grammar cannot be followed, ShardBusy when too many are being
        compiled, ShardUnavailable while the shard is not ready.
        """
        request: Any = message_class("CompileGrammarRequest")()
        grammar.fill(request.grammar)
        response = self._call("CompileGrammar", request)
        if response.verdict == GRAMMAR_BUSY:
            raise ShardBusy("too many grammars are being compiled; try again")
        if response.verdict != GRAMMAR_OK:
            raise InvalidRequest(f"the grammar cannot be followed: {response.message}")

    def _call(self, method: str, request: Any = None) -> Any:
        channel, address = self._channels[0]
        call = channel.unary_unary(
            f"/{SERVICE}/{method}",
            request_serializer=message_class(f"{method}Request").SerializeToString,
            response_deserializer=message_class(f"{method}Response").FromString,
        )
        try:
            given = message_class(f"{method}Request")() if request is None else request
            return call(given, timeout=self._timeout_s)
        except grpc.RpcError as error:
            raise from_rpc(error, address) from error

    def close(self) -> None:
        """Closes the connections."""
        for channel, _ in self._channels:
            channel.close()

    def __enter__(self) -> ShardClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _channel(address: str) -> grpc.Channel:
    is_path = "/" in address or ":" not in address
    options = [
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        # A socket's path is no valid authority of HTTP/2.
        *([("grpc.default_authority", "localhost")] if is_path else []),
    ]
    return grpc.insecure_channel(f"unix:{address}" if is_path else address, options=options)
