"""Clients that mean harm: raw bytes on a socket, and HTTP/2 frames made by hand."""

import contextlib
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import httpx

from harness import Server, children

Result = TypeVar("Result")
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 6, 7, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1


class Target(Protocol):
    """A server, or a router alone."""

    port: int
    base_url: str


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One HTTP/2 frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def literal(name: bytes, value: bytes) -> bytes:
    """A header field without index and without Huffman code (HPACK); both shorter than 127 bytes."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def get_request(path: bytes) -> bytes:
    """The header block of a GET: `:method` and `:scheme` by their index in the static table."""
    return b"\x82\x86" + literal(b":path", path) + literal(b":authority", b"x")


def connect(server: Target, timeout_s: float = 180) -> socket.socket:
    """A connection whose every read ends within the timeout."""
    return socket.create_connection(("127.0.0.1", server.port), timeout=timeout_s)


def read_all(connection: socket.socket) -> bytes:
    """All bytes until the other side closes."""
    pieces = []
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            pieces.append(piece)
    return b"".join(pieces)


def exchange(server: Target, sent: bytes) -> bytes:
    """Sends bytes and gives all that comes until the server closes."""
    with connect(server) as connection:
        # A server that has seen enough closes before all is sent.
        with contextlib.suppress(ConnectionError):
            connection.sendall(sent)
        return read_all(connection)


def statuses(answer: bytes) -> list[int]:
    """The statuses of all HTTP/1 answers in a byte stream."""
    return [int(status) for status in re.findall(rb"^HTTP/1\.1 (\d{3})", answer, re.MULTILINE)]


def frames(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Kind, flags, stream and payload of every whole frame."""
    while len(data) >= 9:
        length = int.from_bytes(data[:3], "big")
        kind, flags, stream = struct.unpack(">BBI", data[3:9])
        if len(data) < 9 + length:
            return
        yield kind, flags, stream, data[9 : 9 + length]
        data = data[9 + length :]


def post_bytes(path: str, body: bytes, *headers: str) -> bytes:
    """A POST that asks for the end of the connection."""
    lines = [
        f"POST {path} HTTP/1.1",
        "host: x",
        "connection: close",
        "content-type: application/json",
        f"content-length: {len(body)}",
        *headers,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def eventually(condition: Callable[[], bool], timeout_s: float = 60) -> bool:
    """Whether a condition that takes a request to find out becomes true."""
    deadline = time.monotonic() + timeout_s
    while not (holds := condition()) and time.monotonic() < deadline:
        pass
    return holds


def router_pid(server: Server) -> int:
    """The router's process."""
    for pid in children(server.process.pid):
        if b"shardline-router" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]:
            return pid
    raise AssertionError("no router among the launcher's processes")


def resident_mb(pid: int) -> float:
    """Resident memory of a process."""
    match = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match
    return int(match[1]) / 1000


LONG_STREAM = {
    "prompt": "Once upon a time",
    "max_tokens": 100,
    "temperature": 0,
    "ignore_eos": True,
}


@dataclass
class Stopwatch:
    """Notes how long bad inputs took, in seconds, by their names."""

    server: Target
    times: dict[str, list[float]] = field(default_factory=dict)

    def timed(self, name: str, send: Callable[[], Result]) -> Result:
        """Calls `send`, noting how long it took."""
        began = time.perf_counter()
        result = send()
        self.times.setdefault(name, []).append(time.perf_counter() - began)
        return result

    def post(self, name: str, path: str, **request: Any) -> httpx.Response:
        """A request on a connection of its own, and how long it took; not how long the client takes to be made."""
        with httpx.Client(base_url=self.server.base_url, timeout=180) as client:
            return self.timed(name, lambda: client.post(path, **request))

    def exchange(self, name: str, sent: bytes) -> bytes:
        """`exchange`, noting how long it took."""
        return self.timed(name, lambda: exchange(self.server, sent))


@dataclass
class Beside(Stopwatch):
    """A good stream that runs again and again while a module's bad inputs come in.

    `finish` stops it and asserts that each of its texts equals the one that came when nothing else
    ran, and that the router has given back the memory that it needed meanwhile.
    """

    launcher: Server = field(kw_only=True)
    _texts: list[str] = field(default_factory=list)
    _broken: list[Exception] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        self._alone = self._complete()
        self._before_mb = resident_mb(router_pid(self.launcher))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _complete(self) -> str:
        url = f"{self.server.base_url}/v1/completions"
        with httpx.stream("POST", url, json={**LONG_STREAM, "stream": True}, timeout=300) as response:
            pieces = [json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: {")]
        return "".join(choice["text"] for piece in pieces for choice in piece["choices"])

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._texts.append(self._complete())
            except Exception as error:
                self._broken.append(error)
                return

    def finish(self, most_mb: float = 32) -> None:
        self._stop.set()
        self._thread.join(300)
        assert not self._thread.is_alive() and not self._broken, self._broken
        router = router_pid(self.launcher)

        def grown_mb() -> float:
            return resident_mb(router) - self._before_mb

        most_grown_mb = grown_mb()
        # Pages that are no longer used go back to the system after some seconds.
        given_back = eventually(lambda: grown_mb() < most_mb)
        if self.times:
            times = sorted(((max(taken), name) for name, taken in self.times.items()), reverse=True)
            median = times[len(times) // 2][0]
            worst = ", ".join(f"{name} {seconds * 1e3:.0f} ms" for seconds, name in times[:3])
            print(f"\n{len(times)} bad inputs: median {median * 1e3:.1f} ms, slowest {worst}; ", end="")
        print(
            f"the router grew by {most_grown_mb:.1f} MB, {grown_mb():.1f} MB after a while, "
            f"beside {len(self._texts)} good streams"
        )
        assert self._texts and set(self._texts) == {self._alone}
        assert given_back
