"""Where the seconds of a start go."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from time import perf_counter


class StartPhases:
    """Named phases and their seconds, in the order in which they began; some run beside each other."""

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        self._clock = clock
        self._seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Generator[None]:
        """Counts what runs within it; a phase may be entered more than once."""
        began = self._clock()
        self._seconds.setdefault(name, 0.0)
        try:
            yield
        finally:
            self._seconds[name] += self._clock() - began

    def note(self, name: str, seconds: float) -> None:
        """A phase that somebody else measured."""
        self._seconds[name] = self._seconds.get(name, 0.0) + seconds

    def pairs(self) -> tuple[tuple[str, float], ...]:
        """(name, seconds)."""
        return tuple(self._seconds.items())

    def line(self) -> str:
        """For the log: "import 2.9 s, weights 0.7 s"."""
        return ", ".join(f"{name} {seconds:.2f} s" for name, seconds in self._seconds.items())


def process_age() -> float:
    """Seconds since this process began: what the interpreter and imports took; 0 where unknown."""
    try:
        with open("/proc/self/stat", encoding="ascii", errors="replace") as file:
            # The name of the program, in brackets, may hold spaces.
            started_ticks = int(file.read().rpartition(")")[2].split()[19])
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started_ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, AttributeError, IndexError):
        return 0.0
