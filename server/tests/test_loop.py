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

    def next(self, timeout_s=None):
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

    def work_ahead(self):
        return False

    def work_between(self):
        return False


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


class Quiet(FakeEndpoint):
    """No frame comes in time wherever a None stands."""

    def next(self, timeout_s=None):
        frame = super().next()
        if frame == "nothing":
            assert timeout_s is not None, "it waits for ever though there is something to do"
            self.log.append("quiet")
            raise TimeoutError
        return frame


class Ahead(FakeRunner):
    """Has work for `left` idle moments. `log`: shared with the endpoint."""

    def __init__(self, endpoint, left):
        self.endpoint = endpoint
        self.left = left

    def work_ahead(self):
        self.endpoint.log.append("ahead")
        self.left -= 1
        return self.left > 0


def test_idle_moments_are_used_one_piece_at_a_time():
    endpoint = Quiet(["nothing", Frame(1), "nothing"])
    run_steps(Ahead(endpoint, 2), endpoint, threaded=False)
    assert [entry for entry in endpoint.log if entry in ("quiet", "ahead")] == ["quiet", "ahead"] * 2


def test_nothing_is_done_ahead_while_a_step_is_under_way():
    class Slow(Ahead):
        def complete(self, pending):
            released.wait(timeout=30)
            return super().complete(pending)

    class Releasing(Quiet):
        def next(self, timeout_s=None):
            if self.log.count("quiet") == 3:
                released.set()
            return super().next(timeout_s)

    released = threading.Event()
    endpoint = Releasing([Frame(1), "nothing", "nothing", "nothing", Frame(2)])
    run_steps(Slow(endpoint, 1), endpoint, threaded=True)
    assert "ahead" not in endpoint.log


def test_without_work_ahead_the_loop_waits_for_frames_alone():
    limits = []

    class Noting(Quiet):
        def next(self, timeout_s=None):
            limits.append(timeout_s)
            return super().next(timeout_s)

    endpoint = Noting(["nothing", Frame(1), Frame(2)])
    run_steps(Ahead(endpoint, 1), endpoint, threaded=False)
    assert limits[0] is not None and limits[1:] == [None, None, None]


def test_between_steps_there_is_work_with_pauses():
    class Between(FakeRunner):
        def __init__(self):
            self.log = []
            self.left = 2

        def launch(self, frame):
            self.log.append(frame.step_id)
            return super().launch(frame)

        def work_between(self):
            self.log.append("work")
            self.left -= 1
            return self.left > 0

    times = iter([0.0, 0.010, 0.031, 0.035, 0.040, 0.070, 0.080, 1.0])
    runner = Between()
    run_steps(runner, FakeEndpoint([Frame(step) for step in range(1, 7)]), False, clock=lambda: next(times))
    assert runner.log == [1, 2, "work", 3, 4, "work", 5, 6]
