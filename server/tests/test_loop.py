"""The loop between an endpoint and the runner."""

import threading

import pytest

from shardline.endpoint.frame import Frame
from shardline.runner.errors import ProtocolError
from shardline.runner.loop import run_steps
from shardline.start.ahead import STEPS_BETWEEN, AheadAlone, AheadOfRanks


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


class Between(FakeRunner):
    """Notes steps and what is done beside them. `ahead`: made with the list that its work is noted in."""

    def __init__(self, ahead):
        self.log = []
        self.ahead = ahead(self.log)

    def launch(self, frame):
        self.ahead.before_step()
        self.log.append(frame.step_id)
        return super().launch(frame)

    def work_ahead(self):
        return self.ahead.work_ahead()

    def work_between(self):
        return self.ahead.work_between()


class Graphs:
    """`left` sizes to capture."""

    def __init__(self, log, left):
        self.log = log
        self.left = left

    def work_ahead(self):
        self.log.append("capture")
        self.left -= 1
        return self.left > 0

    work_between = work_ahead


class Products:
    """`left` products to measure."""

    def __init__(self, log, left):
        self.log = log
        self.left = left

    def work_ahead(self):
        if not self.left:
            return False
        self.log.append("measure")
        self.left -= 1
        return True


def test_alone_there_is_work_between_steps_with_pauses():
    times = iter([0.0, 0.010, 0.031, 0.031, 0.040, 0.062, 0.062])
    runner = Between(lambda log: AheadAlone(Products(log, 0), Graphs(log, 2), clock=lambda: next(times)))
    run_steps(runner, FakeEndpoint([Frame(step) for step in range(1, 7)]), False)
    assert runner.log == [1, 2, "capture", 3, 4, "capture", 5, 6]
    assert next(times, None) is None


def test_alone_idle_moments_are_for_products_and_then_for_graphs():
    runner = Between(lambda log: AheadAlone(Products(log, 2), Graphs(log, 2)))
    run_steps(runner, Quiet(["nothing"] * 4), False)
    assert runner.log == ["measure", "measure", "capture", "capture"]


class Moments:
    """Idle ones of all ranks. `places`: where all are idle; `leaving`: before which step the others are."""

    def __init__(self, places=(), leaving=()):
        self.places, self.leaving = places, leaving
        self.asked = 0

    def together(self, place):
        return place in self.places

    def leave(self):
        self.asked += 1
        return self.asked in self.leaving


def test_ranks_capture_after_the_same_steps_whatever_their_idle_moments_are():
    def log_of(idle_before):
        """`idle_before`: steps before which the rank waits for a frame."""
        frames = []
        for step in range(1, 5 * STEPS_BETWEEN):
            frames += ["nothing", Frame(step)] if step in idle_before else [Frame(step)]
        runner = Between(lambda log: AheadOfRanks(Products(log, 3), Graphs(log, 3), Moments()))
        run_steps(runner, Quiet(frames), False)
        return runner.log

    busy, idle = log_of(()), log_of((1, 2, STEPS_BETWEEN, STEPS_BETWEEN + 1))
    places = [busy[at - 1] for at, entry in enumerate(busy) if entry == "capture"]
    assert places == [STEPS_BETWEEN, 2 * STEPS_BETWEEN, 3 * STEPS_BETWEEN]
    assert idle.count("measure") == 3 and [entry for entry in idle if entry != "measure"] == busy


def test_ranks_capture_in_moments_that_are_idle_for_all():
    moments = Moments(places=(0, 2), leaving=(4,))
    runner = Between(lambda log: AheadOfRanks(Products(log, 1), Graphs(log, 4), moments))
    frames = ["nothing", "nothing", Frame(1), "nothing", Frame(2), "nothing", Frame(3), Frame(4), "nothing"]
    run_steps(runner, Quiet(frames), False)
    assert runner.log == ["measure", "capture", 1, 2, "capture", 3, "capture", 4]


@pytest.mark.parametrize("threaded", [False, True])
def test_a_rank_that_has_no_idle_moments_still_works_between_steps(threaded):
    runner = Between(lambda log: AheadOfRanks(Products(log, 0), Graphs(log, 2), Moments()))
    frames = [Frame(step) for step in range(1, STEPS_BETWEEN + 1)]
    run_steps(runner, Quiet(["nothing", *frames]), threaded)
    assert runner.log[-2:] == [STEPS_BETWEEN, "capture"]


def test_ranks_ask_for_no_moments_when_nothing_is_left():
    moments = Moments(places=range(9))
    runner = Between(lambda log: AheadOfRanks(Products(log, 0), Graphs(log, 2), moments))
    run_steps(runner, Quiet(["nothing"] * 2 + [Frame(1)]), False)
    assert runner.log == ["capture", "capture", 1]
    assert not runner.work_ahead() and not runner.work_between()


def test_the_end_of_captures_is_told_once(caplog):
    caplog.set_level("INFO", "shardline.start")
    runner = Between(lambda log: AheadAlone(Products(log, 0), Graphs(log, 2)))
    assert runner.work_ahead()
    assert not caplog.records
    assert not runner.work_ahead() and not runner.work_ahead()
    assert [record.getMessage() for record in caplog.records] == ["the usual steps are captured"]
