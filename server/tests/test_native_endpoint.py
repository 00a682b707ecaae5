"""The shell of the native endpoint: what Python sees of it. Its logic is tested in Rust."""

import os
import signal
import threading

import numpy as np
import pytest

from shardline._native import Endpoint, Frame, PromptLogprobs
from shardline.client import Phase, ShardClient, ShardFailed, ShardUnavailable
from support.endpoint import info


@pytest.fixture
def endpoint(tmp_path):
    endpoint = Endpoint(str(tmp_path / "shard"))
    yield endpoint
    endpoint.close()


@pytest.fixture
def client(endpoint, tmp_path):
    with ShardClient.connect(str(tmp_path / "shard")) as client:
        yield client


def first_frame(endpoint, client) -> tuple[Frame, threading.Thread, list[object]]:
    """The frame of a prompt [5, 6], and the client that waits for its answer."""
    endpoint.set_info(**info())
    endpoint.set_phase(Phase.READY)
    results: list[object] = []

    def generate() -> None:
        try:
            results.extend(client.generate([[5, 6]], 1, seed=2**64 - 1))
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=generate)
    thread.start()
    frame = endpoint.next()
    assert frame is not None
    return frame, thread, results


def test_phases(endpoint, client) -> None:
    assert client.health().phase is Phase.STARTING
    endpoint.set_phase(Phase.LOADING, "half of it")
    assert client.health().message == "half of it"
    with pytest.raises(ShardUnavailable, match=r"not ready \(PHASE_LOADING\): half of it"):
        client.info()
    with pytest.raises(ValueError, match="phase is 9; the proto's Phase has 0 to 5"):
        endpoint.set_phase(9)


def test_a_frame_has_what_the_wire_has(endpoint, client) -> None:
    frame, thread, results = first_frame(endpoint, client)
    assert (frame.session, frame.step_id, frame.new_session, frame.drop) == (1, 1, True, b"")
    assert np.frombuffer(frame.sequence_ids, "<u8").tolist() == [0]
    assert np.frombuffer(frame.num_tokens, "<i4").tolist() == [2]
    (sequence,) = frame.new_sequences
    assert np.frombuffer(sequence.token_ids, "<i4").tolist() == [5, 6]
    assert (sequence.seed, sequence.choice, sequence.num_prompt_tokens) == (2**64 - 1, 0, 2)
    assert (sequence.sampling.temperature, sequence.sampling.top_k) == (1.0, 0)
    assert (sequence.grammar, sequence.adapter) == (None, None)
    assert repr(frame) == "<Frame step_id=1 session=1 rows=1 new_sequences=1>"
    one = np.array([7], "<i4").tobytes()
    sent = endpoint.send(
        frame, sequence_ids=bytes(8), status=b"\0", token_counts=np.array([1], "<i4").tobytes(), token_ids=one
    )
    thread.join()
    assert sent and [token.id for token in results] == [7]


def test_an_outcome_that_does_not_fit_is_refused(endpoint, client) -> None:
    frame, thread, results = first_frame(endpoint, client)
    with pytest.raises(ValueError, match="status has 0 bytes where 1 are needed"):
        endpoint.send(frame, sequence_ids=bytes(8))
    prompt = PromptLogprobs(sequence_id=0, first_position=0, logprobs=bytes(8), top_counts=bytes(4))
    with pytest.raises(ValueError, match=r"prompt_logprobs\.top_counts has 4 bytes where 8 are needed"):
        endpoint.send(frame, prompt_logprobs=[prompt])
    endpoint.fail("the runner gives up")
    thread.join()
    assert isinstance(results[0], ShardFailed) and "the runner gives up" in str(results[0])
    assert endpoint.send(frame) is False, "the session is over"


def test_closing_ends_the_wait_of_another_thread(endpoint) -> None:
    frames: list[Frame | None] = []
    thread = threading.Thread(target=lambda: frames.append(endpoint.next()))
    thread.start()
    endpoint.close()
    thread.join()
    assert frames == [None]


def test_signals_reach_their_handlers_while_it_waits(endpoint) -> None:
    """Signals come until one has been handled: the wait would never end otherwise."""
    handled = threading.Event()

    def close(number: int, frame: object) -> None:
        handled.set()
        endpoint.close()

    def send_signals() -> None:
        while not handled.wait(0.01):
            os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, close)
    sender = threading.Thread(target=send_signals)
    try:
        sender.start()
        assert endpoint.next() is None
    finally:
        sender.join()
        signal.signal(signal.SIGUSR1, before)


def test_a_socket_in_use_is_left_alone(endpoint, tmp_path) -> None:
    with pytest.raises(OSError, match="is served by another process; choose another --shard-uds-path"):
        Endpoint(str(tmp_path / "shard"))
