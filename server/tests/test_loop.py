"""The loop between an endpoint and the runner."""

import torch

from shardline.endpoint.frame import Frame
from shardline.runner.errors import ProtocolError
from shardline.runner.loop import run_steps


class FakeEndpoint:
    def __init__(self, frames):
        self.frames = list(frames)
        self.log = []

    def next(self):
        return self.frames.pop(0) if self.frames else None

    def send(self, frame, outcome):
        self.log.append(("answer", frame.step_id, outcome))

    def fail(self, message):
        self.log.append(("fail", message))


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


def test_frames_are_answered_in_order_until_the_end():
    endpoint = FakeEndpoint([Frame(1), Frame(2), Frame(3)])
    run_steps(FakeRunner(), endpoint, torch.device("cpu"))
    assert endpoint.log == [("answer", 1, 10), ("answer", 2, 20), ("answer", 3, 30)]


def test_a_violation_ends_the_session_and_the_next_one_runs():
    bad = Frame(2, drop=b"12345678")
    endpoint = FakeEndpoint([Frame(1), bad, Frame(3), Frame(1, new_session=True)])
    run_steps(FakeRunner(), endpoint, torch.device("cpu"))
    assert endpoint.log == [("answer", 1, 10), ("fail", "step 2: wrong"), ("answer", 1, 10)]
