"""A server that is watched: its log, its metrics, its memory on the card and off it."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path

from gpu import FIRST_CARD

_ZERO_WHEN_IDLE = (
    "shardline_sequences_running",
    "shardline_sequences_waiting",
    "shardline_kv_blocks_in_use",
    "tgi_queue_size",
    "tgi_batch_current_size",
)
_TOLD = ("shardline_preemptions_total", "shardline_prefix_cache_hit_tokens_total", "shardline_steps_total")
_BAD_LINE = re.compile(r"\b(ERROR|panicked|Traceback|CRITICAL)\b")


@dataclass(frozen=True, slots=True)
class Reading:
    """One moment at which nothing is under way. `resident_mib`: by process, largest private memory."""

    name: str
    healthy: bool
    metrics: dict[str, float]
    card_mib: int
    resident_mib: dict[str, int]

    def faults(self) -> list[str]:
        """What is not as it must be when nothing is under way."""
        left = [f"{name} is {self.metrics[name]:g}" for name in _ZERO_WHEN_IDLE if self.metrics[name]]
        return left if self.healthy else ["the server is not healthy", *left]

    def line(self) -> str:
        """For people."""
        told = ", ".join(f"{name} {self.metrics[name]:g}" for name in _TOLD)
        memory = ", ".join(f"{name} {mib}" for name, mib in self.resident_mib.items())
        return f"{self.name}: card {self.card_mib} MiB; processes {memory} MiB; {told}"

    def record(self) -> dict[str, object]:
        return asdict(self)


class Served:
    """A launcher with its log in a file; constructed when it answers."""

    def __init__(self, arguments: list[str], log: Path, timeout_s: float = 240.0) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._log = log
        program = shutil.which("shardline-launcher") or str(
            Path(sys.executable).parent / "shardline-launcher"
        )
        command = [program, "--hostname", "127.0.0.1", "--port", str(self.port), *arguments]
        began = time.monotonic()
        with log.open("wb") as out:
            self._process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        while not self.answers("/health"):
            if self._process.poll() is not None or time.monotonic() - began > timeout_s:
                self._process.kill()
                raise SystemExit(f"the server did not get ready:\n{log.read_text()[-6000:]}")
            time.sleep(0.1)
        self.ready_s = time.monotonic() - began

    @property
    def pid(self) -> int:
        return self._process.pid

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return str(answer.read().decode())

    def answers(self, path: str) -> bool:
        try:
            self.get(path)
        except (urllib.error.URLError, OSError):
            return False
        return True

    def bad_lines(self) -> list[str]:
        """Lines of the log that tell of an error."""
        return [line for line in self._log.read_text(errors="replace").splitlines() if _BAD_LINE.search(line)]

    def stop(self) -> int:
        """The launcher's exit code."""
        self._process.terminate()
        try:
            return self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return -9


def read_server(served: Served, name: str) -> Reading:
    """Metrics, health and memory now."""
    page = served.get("/metrics")
    metrics = {key: _metric(page, key) for key in (*_ZERO_WHEN_IDLE, *_TOLD)}
    return Reading(name, served.answers("/health"), metrics, _card_mib(), _resident_mib(served.pid))


def _metric(page: str, name: str) -> float:
    values = re.findall(rf"^{name}(?:\{{[^}}]*\}})? ([0-9.eE+-]+)$", page, re.MULTILINE)
    if not values:
        raise SystemExit(f"no metric {name}")
    return sum(map(float, values))


def _card_mib() -> int:
    """Memory in use on the first card that is ours; 0 where there is none."""
    if shutil.which("nvidia-smi") is None:
        return 0
    query = ["nvidia-smi", *FIRST_CARD, "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    out = subprocess.run(query, check=False, capture_output=True, text=True).stdout.split()
    return int(out[0]) if out and out[0].isdigit() else 0


def _resident_mib(root: int) -> dict[str, int]:
    """Anonymous memory of a process and all below it, by name; a name's largest process counts."""
    found: dict[str, int] = {}
    pending = [root]
    while pending:
        pid = pending.pop()
        folder = Path(f"/proc/{pid}")
        try:
            for task in (folder / "task").iterdir():
                pending += map(int, (task / "children").read_text().split())
            status = (folder / "status").read_text()
        except OSError:
            continue
        name = re.search(r"^Name:\s*(.+)$", status, re.MULTILINE)
        memory = re.search(r"^RssAnon:\s*(\d+)", status, re.MULTILINE)
        if name and memory:
            found[name[1]] = max(found.get(name[1], 0), int(memory[1]) >> 10)
    return dict(sorted(found.items()))
