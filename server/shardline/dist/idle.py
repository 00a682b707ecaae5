"""Moments in which all ranks are idle, at the same place among their steps.

What ranks have to do together (to capture a step with sums in it) must come at the same place on all of
them. Each is idle when it has launched all steps that came and none is under way, but a next one may be there for
one rank while another still waits. So the first rank asks, over the store at which the ranks met:

- a rank other than the first that is idle takes its seat: it says how many steps it has launched;
- the first one, idle after as many steps, claims every seat, and then says that all go, or, when somebody
  is not seated there, that they may leave;
- for its next step a rank leaves its seat, unless it is claimed by then: then it waits for the first rank's word.

Seats are changed by compare-and-set, so a seat is either left or claimed. The first rank never waits for the others.
"""

from __future__ import annotations

from torch import distributed

_AWAY = "away"
_CLAIMED = "claimed"
_GO = "go"
_LEAVE = "leave"


class IdleMoments:
    """One rank's. `places` are numbers of steps launched so far."""

    def __init__(self, store: distributed.Store, rank: int, world_size: int) -> None:
        self._store = distributed.PrefixStore("idle", store)
        self._rank = rank
        self._others = range(1, world_size)
        self._seated = ""

    def together(self, place: int) -> bool:
        """Asked in an idle moment: whether all ranks are idle here, and now do the same. Raises `RuntimeError`
        when a rank is lost.
        """
        if self._rank == 0:
            return self._ask(place)
        if not self._seated:
            self._seated = _seated(place)
            self._store.set(_seat(self._rank), self._seated)
            return False
        return self._answer(self._own_seat())

    def leave(self) -> bool:
        """Asked before a step: whether all ranks do first what they have for idle moments."""
        if not self._seated:
            return False
        return self._answer(self._change(self._rank, self._seated, _AWAY))

    def _ask(self, place: int) -> bool:
        claimed: list[int] = []
        for rank in self._others:
            if self._change(rank, _seated(place), _CLAIMED) != _CLAIMED:
                break
            claimed.append(rank)
        go = len(claimed) == len(self._others)
        for rank in claimed:
            self._store.set(_seat(rank), _GO if go else _LEAVE)
        return go

    def _answer(self, seat: str) -> bool:
        """What the seat says, once the first rank has decided."""
        if seat == self._seated:
            return False
        while seat == _CLAIMED:
            seat = self._own_seat()
        self._seated = ""
        return seat == _GO

    def _own_seat(self) -> str:
        return self._store.get(_seat(self._rank)).decode()

    def _change(self, rank: int, before: str, after: str) -> str:
        """What is there then: `after`, or what was there instead of `before`."""
        return self._store.compare_set(_seat(rank), before, after).decode()


def _seat(rank: int) -> str:
    return f"seat {rank}"


def _seated(place: int) -> str:
    return f"after {place} steps"
