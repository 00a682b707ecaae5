"""One Execute stream to each rank of a shard group: the same steps to all, outcomes from rank 0."""

from __future__ import annotations

import queue
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt

from shardline.client.errors import ShardFailed, from_rpc
from shardline.client.sampling import i32
from shardline.client.schedule import Finish, Running, Sampled, Step
from shardline.client.wire import SERVICE, message_class

ROW_OK = 0
ROW_GRAMMAR_ERROR = 2


class Rank:
    """The stream to one rank."""

    def __init__(self, channel: grpc.Channel, address: str) -> None:
        self.address = address
        # One step is out at a time, so that the queue's bound is never reached.
        self._steps: queue.Queue[bytes | None] = queue.Queue(maxsize=4)
        execute = channel.stream_stream(
            f"/{SERVICE}/Execute",
            request_serializer=bytes,
            response_deserializer=message_class("StepResponse").FromString,
        )
        self._responses = execute(iter(self._steps.get, None))

    def send(self, step: bytes) -> None:
        self._steps.put(step)

    def receive(self) -> Any:
        """The next StepResponse."""
        try:
            return next(self._responses)
        except StopIteration:
            raise ShardFailed(f"{self.address}: the shard ended the session without a cause") from None
        except grpc.RpcError as error:
            raise from_rpc(error, self.address) from error

    def close(self) -> None:
        self._responses.cancel()
        self._steps.put(None)


class Session:
    """An exclusive session with a whole group. Closing it leaves the shards to the next client."""

    def __init__(self, channels: Sequence[tuple[grpc.Channel, str]]) -> None:
        self._ranks = [Rank(channel, address) for channel, address in channels]
        self._epoch = secrets.randbits(64)
        self._step_id = 0

    def run(self, step: Step) -> list[Sampled]:
        """Sends a step and waits for its outcome."""
        self._step_id += 1
        encoded = encode(step, self._step_id, self._epoch)
        for rank in self._ranks:
            rank.send(encoded)
        responses = [rank.receive() for rank in self._ranks]
        for rank, response in zip(self._ranks, responses, strict=True):
            if response.step_id != self._step_id:
                raise ShardFailed(
                    f"{rank.address}: answered step {response.step_id} instead of {self._step_id}"
                )
        return list(decode(responses[0].outcomes))

    def close(self) -> None:
        for rank in self._ranks:
            rank.close()


def encode(step: Step, step_id: int, epoch: int) -> bytes:
    """A StepRequest."""
    request: Any = message_class("StepRequest")(step_id=step_id, session_epoch=epoch)
    request.drop = np.array(step.drop, dtype="<u8").tobytes()
    for sequence in step.admitted:
        fill_sequence(request.new_sequences.add(), sequence)
    request.rows.sequence_ids = np.array([row[0] for row in step.rows], dtype="<u8").tobytes()
    request.rows.num_tokens = i32([row[1] for row in step.rows])
    # Every block is given with the new sequence.
    request.rows.new_block_counts = i32([0] * len(step.rows))
    return request.SerializeToString()


def fill_sequence(message: Any, sequence: Running) -> None:
    """Writes a NewSequence."""
    request = sequence.request
    message.sequence_id = sequence.index
    message.token_ids = i32(request.token_ids)
    message.num_prompt_tokens = len(request.token_ids)
    message.seed = request.seed
    message.block_tables.add(block_ids=i32(sequence.blocks))
    request.sampling.fill(message.sampling, request.stop_token_ids)
    if request.sampling.grammar is not None:
        request.sampling.grammar.fill(message.grammar)


def decode(outcomes: Any) -> Iterator[Sampled]:
    """The rows of an Outcomes message."""
    ids = np.frombuffer(outcomes.sequence_ids, dtype="<u8")
    status = np.frombuffer(outcomes.status, dtype="u1")
    counts = np.frombuffer(outcomes.token_counts, dtype="<i4")
    tokens = np.frombuffer(outcomes.token_ids, dtype="<i4")
    logprobs = np.frombuffer(outcomes.logprobs, dtype="<f4")
    tops = _tops(outcomes)
    token = 0
    for sequence_id, row_status, count in zip(ids.tolist(), status.tolist(), counts.tolist(), strict=True):
        if row_status != ROW_OK:
            failure = Finish.GRAMMAR if row_status == ROW_GRAMMAR_ERROR else Finish.INVALID_LOGITS
            yield Sampled(sequence_id, None, failure=failure)
        for _ in range(count):
            yield Sampled(
                sequence_id, int(tokens[token]), _number(logprobs, token), tops[token] if tops else ()
            )
            token += 1


def _number(values: npt.NDArray[np.float32], index: int) -> float | None:
    """None where it was not asked for."""
    return None if len(values) == 0 or np.isnan(values[index]) else float(values[index])


def _tops(outcomes: Any) -> list[tuple[tuple[int, float], ...]]:
    """One entry a token, or none at all."""
    counts = np.frombuffer(outcomes.top_counts, dtype="<i4")
    ids = np.frombuffer(outcomes.top_token_ids, dtype="<i4").tolist()
    values = np.frombuffer(outcomes.top_logprobs, dtype="<f4").tolist()
    ends = np.cumsum(counts).tolist()
    starts = [0, *ends[:-1]]
    return [tuple(zip(ids[a:b], values[a:b], strict=True)) for a, b in zip(starts, ends, strict=False)]
