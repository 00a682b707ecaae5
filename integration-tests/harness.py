"""Starts the installed launcher as a user would and speaks to it as a client would."""

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from pathlib import Path

import httpx

# Far more than an idle machine needs.
START_TIMEOUT_S = 300
STOP_TIMEOUT_S = 120
# Ports below those that systems give to outgoing connections, so that none of these takes one meanwhile.
PORTS = range(20_000, 32_000)


def program(name: str) -> str:
    """The command `name` of the environment that runs the tests."""
    path = Path(sys.executable).parent / name
    if not path.exists():
        raise AssertionError(f"{path} is missing: run `make setup`")
    return str(path)


def free_port() -> int:
    """A port that was free a moment ago."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Server:
    """One launcher with everything it started.

    `log` holds all it printed so far; `wait_ready` returns when it has said that it is ready.
    """

    def __init__(self, *arguments: str, env: dict[str, str] | None = None) -> None:
        self.port = free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        clean = {k: v for k, v in os.environ.items() if k not in ("HOSTNAME", "PORT", "API_KEY", "MODEL_ID")}
        self.process = subprocess.Popen(
            [program("shardline-launcher"), "--hostname", "127.0.0.1", "--port", str(self.port), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**clean, **(env or {})},
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def log(self) -> str:
        with self._changed:
            return "".join(self._lines)

    def wait_log(self, pattern: str, timeout_s: float = START_TIMEOUT_S) -> re.Match[str]:
        """Waits until the log matches `pattern`; fails with the log when it ends or takes too long."""
        found: list[re.Match[str]] = []

        def matches() -> bool:
            match = re.search(pattern, "".join(self._lines))
            if match:
                found.append(match)
            return bool(match) or self._ended

        with self._changed:
            in_time = self._changed.wait_for(matches, timeout_s)
        if not found:
            raise AssertionError(
                f"no {pattern!r} in the log ({'ended' if in_time else 'timed out'}):\n{self.log}"
            )
        return found[0]

    def wait_ready(self) -> "Server":
        self.wait_log(r"(?i)\bready\b.*https?://")
        return self

    def stop(self, how: int = signal.SIGTERM) -> int:
        """Asks it to end, waits, and returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            code = self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(
                f"did not end within {STOP_TIMEOUT_S} s of signal {how}:\n{self.log}"
            ) from None
        self.wait_log(r"\Z")
        return code

    def shard(self, rank: int) -> int | None:
        """The process of a rank, where there is one."""
        return shard_process(self.process.pid, rank)

    def kill_every_shard(self) -> int:
        """Kills shard 0 as often as it is started, until the server ends; says how often."""
        killed: set[int] = set()
        while self.process.poll() is None:
            victim = self.shard(0)
            if victim is not None and victim not in killed:
                killed.add(victim)
                os.kill(victim, signal.SIGKILL)
            os.sched_yield()
        return len(killed)

    def client(self, **options: object) -> httpx.Client:
        return httpx.Client(base_url=self.base_url, timeout=120, **options)

    def metric(self, name: str) -> float:
        """The sum of a metric's series."""
        text = httpx.get(f"{self.base_url}/metrics", timeout=30).text
        values = re.findall(rf"^{name}(?:\{{[^}}]*\}})? ([0-9.eE+-]+)$", text, re.MULTILINE)
        assert values, f"no metric {name} in:\n{text}"
        return sum(float(value) for value in values)


@contextlib.contextmanager
def serve(*arguments: str, env: dict[str, str] | None = None) -> Generator[Server]:
    """A server that is ready, and gone afterwards."""
    server = Server(*arguments, env=env)
    try:
        yield server.wait_ready()
    finally:
        server.stop()


def children(pid: int) -> list[int]:
    """All living descendants of a process."""
    found: list[int] = []
    pending = [pid]
    while pending:
        parent = pending.pop()
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                pids = [int(p) for p in task.read_text().split()]
                found += pids
                pending += pids
    return found


def shard_process(launcher: int, rank: int) -> int | None:
    """The process of a rank that a launcher has started, where there is one."""
    for pid in children(launcher):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if b"serve" in words and words[words.index(b"--rank") + 1] == str(rank).encode():
                return pid
    return None


def complete(client: httpx.Client, prompt_ids: Sequence[int], max_tokens: int = 64, **fields: object) -> dict:
    """Greedy completion of token ids by /v1/completions, with the token ids of the answer."""
    body = {
        "prompt": list(prompt_ids),
        "max_tokens": max_tokens,
        "temperature": 0,
        "ignore_eos": True,
        "return_token_ids": True,
        **fields,
    }
    response = client.post("/v1/completions", json=body)
    assert response.status_code == 200, response.text
    return response.json()
