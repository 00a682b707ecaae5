"""The loop: take a frame, launch it, complete it, answer.

On the CPU a step is over when it is launched, and is answered at once. On a GPU a second thread
waits for results and answers, so that the next frame is launched while the last one still runs.
When no step is under way and none comes, the runner works ahead, a few milliseconds at a time; under
load it may do so after each launch.
"""

from __future__ import annotations

import queue
import threading

from shardline.endpoint.frame import Endpoint
from shardline.runner.errors import ProtocolError
from shardline.runner.runner import PendingStep, Runner

MAX_PENDING = 4
IDLE_S = 0.01


class _Answers:
    """Completes steps in their order; with `threaded` in a thread of its own."""

    def __init__(self, runner: Runner, endpoint: Endpoint, threaded: bool) -> None:
        self._runner = runner
        self._endpoint = endpoint
        self._failure: BaseException | None = None
        self._taken = 0
        self._answered = 0
        self._queue: queue.Queue[PendingStep | None] = queue.Queue(MAX_PENDING)
        self._thread = threading.Thread(target=self._work, name="answers", daemon=True)
        self._threaded = threaded
        if self._threaded:
            self._thread.start()

    def take(self, pending: PendingStep) -> None:
        """Answers now or as soon as the step is over. Raises what an earlier answer failed with."""
        if not self._threaded:
            self._endpoint.send(pending.frame, self._runner.complete(pending))
            return
        self._check()
        self._taken += 1
        self._queue.put(pending)

    @property
    def under_way(self) -> bool:
        """Whether a step is not answered yet."""
        return self._taken > self._answered

    def close(self) -> None:
        """Returns when all steps taken are answered."""
        if self._threaded:
            self._queue.put(None)
            self._thread.join()
            self._check()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        while (pending := self._queue.get()) is not None:
            if self._failure is not None:
                continue
            try:
                self._endpoint.send(pending.frame, self._runner.complete(pending))
                self._answered += 1
            except Exception as error:  # raised again by the loop, which a closed endpoint wakes
                self._failure = error
                self._endpoint.fail(f"a step failed: {error}")
                self._endpoint.close()


def run_steps(runner: Runner, endpoint: Endpoint, threaded: bool) -> None:
    """Until the endpoint is closed. A frame that breaks the protocol ends its session alone.

    `threaded`: answers come from a second thread, for devices that run behind the host.
    """
    answers = _Answers(runner, endpoint, threaded)
    broken, works_idle, works_between = False, True, True
    while True:
        try:
            frame = endpoint.next(IDLE_S if works_idle else None)
        except TimeoutError:
            works_idle = answers.under_way or runner.work_ahead()
            continue
        if frame is None:
            break
        if broken and not frame.new_session:
            continue
        broken = False
        try:
            pending = runner.launch(frame)
        except ProtocolError as error:
            broken = True
            endpoint.fail(f"step {frame.step_id}: {error}")
            continue
        answers.take(pending)
        works_between = works_between and runner.work_between()
    answers.close()
