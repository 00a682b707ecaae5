"""The loop between an endpoint and the runner."""

import threading

import pytest

from shardline.endpoint.frame import Frame
from shardline.runner.errors import ProtocolError
from shardline.runner.loop import run_steps


class FakeEndpoint:
    def __init__(self, frames):
        self.frames = iter(frames)
        self.log = []

    def next(self):
        return None if self.log and self.log[-1] == "closed" else next(self.frames, None)

    def send(self, frame, outcome):
        self.log.append(("answer", frame.step_id, outcome))

    def fail(self, message):
        self.log.append(("fail", message))

    def close(self):
        self.log.append("closed")


class FakeRunner:
    def launch(self, frame):
        if frame.drop:
            raise ProtocolError("wrong")
        return PendingFrame(frame)

    def complete(self, pending):
        return pending.frame.step_id * 10


class PendingFrame:
    def __init__(self, frame):
        self.frame = frame


@pytest.mark.parametrize("threaded", [False, True])
def test_frames_are_answered_in_order_until_the_end(threaded):
    endpoint = FakeEndpoint([Frame(1), Frame(2), Frame(3)])
    run_steps(FakeRunner(), endpoint, threaded)
    assert endpoint.log == [("answer", 1, 10), ("answer", 2, 20), ("answer", 3, 30)]


@pytest.mark.parametrize("threaded", [False, True])
def test_a_violation_ends_the_session_and_the_next_one_runs(threaded):
    bad = Frame(2, drop=b"12345678")
    endpoint = FakeEndpoint([Frame(1), bad, Frame(3), Frame(1, new_session=True)])
    run_steps(FakeRunner(), endpoint, threaded)
    assert sorted(endpoint.log, key=str) == sorted(
        [("answer", 1, 10), ("fail", "step 2: wrong"), ("answer", 1, 10)], key=str
    )


def test_a_thread_answers_while_the_next_step_is_launched():
    """The first step is over only when the second one is launched."""
    launched = threading.Event()

    class Behind(FakeRunner):
        def launch(self, frame):
            if frame.step_id == 2:
                launched.set()
            return super().launch(frame)

        def complete(self, pending):
            assert launched.wait(timeout=30)
            return super().complete(pending)

    endpoint = FakeEndpoint([Frame(1), Frame(2)])
    run_steps(Behind(), endpoint, threaded=True)
    assert endpoint.log == [("answer", 1, 10), ("answer", 2, 20)]


@pytest.mark.parametrize("threaded", [False, True])
def test_a_step_that_fails_ends_the_loop(threaded):
    class Failing(FakeRunner):
        def complete(self, pending):
            raise RuntimeError("the device is lost")

    endpoint = FakeEndpoint(Frame(step) for step in range(1, 1_000_000))
    with pytest.raises(RuntimeError, match="the device is lost"):
        run_steps(Failing(), endpoint, threaded)
    assert not threaded or endpoint.log == [("fail", "a step failed: the device is lost"), "closed"]
