"""What the fake router and the fake shard have in common: a diary, the control pipe, signals."""

import contextlib
import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Iterator


def value_of(flag: str) -> str:
    """The word after `flag` on the command line."""
    return sys.argv[sys.argv.index(flag) + 1]


class Diary:
    """Appends one JSON object a line to the file $FAKE_DIARY; lines of several processes keep their order."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.file = os.open(os.environ["FAKE_DIARY"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, what: str, **more: object) -> None:
        os.write(self.file, (json.dumps({"who": self.name, "what": what, **more}) + "\n").encode())

    def starts(self) -> int:
        """How often a process of this name has started."""
        with open(os.environ["FAKE_DIARY"]) as file:
            entries = [json.loads(line) for line in file]
        return sum(entry["who"] == self.name and entry["what"] == "start" for entry in entries)

    def write_start(self) -> None:
        self.write(
            "start",
            pid=os.getpid(),
            group=os.getpgrp(),
            argv=sys.argv[1:],
            environment=dict(os.environ),
            pipes=pipes(),
        )


def pipes() -> dict[int, str]:
    """The pipes this process holds: descriptor → the pipe's name."""
    links = {}
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            links[int(descriptor)] = os.readlink(f"/proc/self/fd/{descriptor}")
    return {descriptor: link for descriptor, link in links.items() if link.startswith("pipe:")}


def behaviour(name: str) -> str:
    """How the test wants this process to behave: $FAKE_<NAME>, empty for well."""
    return os.environ.get(f"FAKE_{name.upper().replace('-', '_')}", "")


def wait_for(who: str, what: str) -> None:
    """Waits until another process has written this."""
    while True:
        with open(os.environ["FAKE_DIARY"]) as file:
            entries = [json.loads(line) for line in file]
        if any(entry["who"] == who and entry["what"] == what for entry in entries):
            return
        time.sleep(0.01)


def orders() -> Iterator[dict]:
    """The lines of the control pipe until its end."""
    with open(int(value_of("--control-fd")), closefd=False) as pipe:
        for line in pipe:
            yield json.loads(line)


def outlive_by_signal() -> None:
    """Takes back the kernel's promise to kill this process with its parent, so that only the pipe tells."""
    ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)


def on_terminate(diary: Diary) -> None:
    """Writes that SIGTERM came and ends."""

    def end(*_: object) -> None:
        diary.write("terminated")
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
