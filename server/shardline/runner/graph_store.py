"""Which captured graphs there are, and when a size is captured.

A size that is met for the first time runs launch by launch, which loads what its kernels need; when
it comes again, in an idle moment, or now and then between two steps, it is captured. So a server answers
before anything is captured, and no step ever waits for more than one capture.

## A size: unknown → loaded → captured
- unknown → loaded: its step ran once, for a request or ahead of one; or its kernels are there already.
- loaded → captured: the step came again, the device was idle, or the host had time between steps.
- captured → loaded: it was the one not used for longest when there were as many as may be.
- all → unknown: everything was dropped because memory ran out; nothing is captured from then on.

## Where ranks hold a model together
A graph has their collectives in it, so all ranks capture the same sizes at the same places among their
steps, and one that replays has the others replay. What a store does follows from the calls it gets, which are
the same on all ranks, and from two facts that are one rank's own: whether there is memory for a graph, and
whether its capture went well. On these the ranks agree: a graph is kept by all of them or by none, and all
are closed at the same size. `work_ahead` is for them what all do at the same place among their steps.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Graph = TypeVar("Graph")
log = logging.getLogger("shardline.graphs")


@dataclass(frozen=True, slots=True)
class GraphWork(Generic[Key, Graph]):
    """What a store asks for.

    `run`: one step of the size over padding. `loads`: what that puts on the device; a size whose
    kernels another one's run has loaded needs no run of its own. `capture`: the size's graph;
    `RuntimeError` when the device has no memory for it. `has_room`: whether there is memory for another
    one. `settle`: returns when no graph is running any more. `agree`: whether all ranks consent, who ask
    the same; itself where there are no others.
    """

    run: Callable[[Key], None]
    loads: Callable[[Key], Hashable]
    capture: Callable[[Key], Graph]
    has_room: Callable[[], bool]
    settle: Callable[[], None]
    agree: Callable[[bool], bool]


class GraphStore(Generic[Key, Graph]):
    """Graphs by size. `most`: that are kept at once."""

    def __init__(self, work: GraphWork[Key, Graph], most: int) -> None:
        self._work = work
        self._most = most
        self._closed = most == 0
        self._graphs: OrderedDict[Key, Graph] = OrderedDict()
        self._loaded: set[Hashable] = set()
        self._ahead: list[Key] = []

    def __len__(self) -> int:
        return len(self._graphs)

    def __contains__(self, key: Key) -> bool:
        return key in self._graphs

    def find(self, key: Key) -> Graph | None:
        """The size's graph, captured now if need be; none: the step is to run launch by launch."""
        graph = self._graphs.get(key)
        if graph is not None:
            self._graphs.move_to_end(key)
            return graph
        if not self._is_loaded(key):
            self.note_loaded(key)
            return None
        return self._capture(key)

    def note_loaded(self, key: Key) -> None:
        """The size's kernels are on the device."""
        self._loaded.add(self._work.loads(key))

    def capture(self, key: Key) -> None:
        """Captures a size before it is asked for."""
        if not self._is_loaded(key):
            self._run(key)
        if key not in self._graphs:
            self._capture(key)

    def plan(self, keys: Iterable[Key]) -> None:
        """Sizes to capture in idle moments and between steps, in this order."""
        self._ahead = [key for key in keys if key not in self._graphs]
        self._ahead.reverse()

    def work_ahead(self) -> bool:
        """One run or one capture of the planned ones; false when none is left."""
        while self._ahead and self._ahead[-1] in self._graphs:
            self._ahead.pop()
        if not self._ahead:
            return False
        key = self._ahead[-1]
        if not self._is_loaded(key):
            self._run(key)
        elif len(self._graphs) >= self._most or self._capture(key) is None:
            # Another one would push out one that is as likely to be needed.
            self._ahead.clear()
        else:
            self._ahead.pop()
        return bool(self._ahead)

    def work_between(self) -> bool:
        """One capture of a planned size whose kernels are loaded; false when none of the planned is left.

        For moments between two steps: a run would keep the device from them.
        """
        self._ahead = [key for key in self._ahead if key not in self._graphs]
        if len(self._graphs) >= self._most:
            self._ahead.clear()
        loaded = next((key for key in reversed(self._ahead) if self._is_loaded(key)), None)
        if loaded is not None and self._capture(loaded) is None:
            self._ahead.clear()
        return bool(self._ahead)

    def clear(self) -> None:
        """Drops everything and captures no more: the memory is needed. Of several ranks all do it, or none."""
        self._closed = True
        self._ahead.clear()
        self._work.settle()
        self._graphs.clear()

    def _is_loaded(self, key: Key) -> bool:
        return self._work.loads(key) in self._loaded

    def _run(self, key: Key) -> None:
        self._work.run(key)
        self.note_loaded(key)

    def _capture(self, key: Key) -> Graph | None:
        if self._closed:
            return None
        if len(self._graphs) >= self._most:
            self._work.settle()
            self._graphs.popitem(last=False)
        has_room = self._work.has_room()
        if not self._work.agree(has_room):
            whose = "another rank's device" if has_room else "the device"
            return self._close(f"{whose} has no memory for another one")
        graph, cause = self._try(key)
        agreed = self._work.agree(graph is not None)
        if graph is None or not agreed:
            return self._close(cause)
        self._graphs[key] = graph
        log.debug("captured %s, %d in all", key, len(self._graphs))
        return graph

    def _try(self, key: Key) -> tuple[Graph | None, str]:
        """The size's graph, or why there is none; with a graph, why it may be of no use."""
        try:
            return self._work.capture(key), "another rank could not capture it"
        except RuntimeError as error:
            return None, str(error).partition("\n")[0]

    def _close(self, cause: str) -> None:
        self._closed = True
        log.warning(
            "%d sizes of steps are captured and it stays at that: %s. Other sizes run launch by launch; "
            "a lower --cuda-memory-fraction leaves more room",
            len(self._graphs),
            cause,
        )
