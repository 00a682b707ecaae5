"""What a killed rank costs those who stream: how long nothing came, and whether all tokens did.

    python benchmark/gpu/lost_rank.py [--shards 2] [--model 8b]

Starts the server with random weights, streams to some clients, kills the last rank in their midst, and
streams once more when all of them have ended.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
import gpu
import shapes

MIDST = 100


class Stream(threading.Thread):
    """A greedy stream: its tokens, the longest time between two events, and what went wrong."""

    def __init__(self, port: int, number: int, tokens: int) -> None:
        super().__init__()
        self.tokens: list[int] = []
        self.gap_s = 0.0
        self.problem: object = None
        self._port = port
        self._body = json.dumps(
            {
                "prompt": [5 + number, 17, 23, 11],
                "max_tokens": tokens,
                "temperature": 0,
                "ignore_eos": True,
                "return_token_ids": True,
                "stream": True,
            }
        )
        self.in_midst = threading.Event()
        self.start()

    def run(self) -> None:
        try:
            self._read()
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.problem = error
        self.in_midst.set()

    def _read(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=300)
        connection.request("POST", "/v1/completions", self._body, {"content-type": "application/json"})
        last = time.monotonic()
        for line in connection.getresponse():
            if not line.startswith(b"data: {"):
                continue
            event, now = json.loads(line[6:]), time.monotonic()
            self.gap_s, last = max(self.gap_s, now - last), now
            if "error" in event:
                self.problem = event["error"]
            for choice in event.get("choices", ()):
                self.tokens += choice.get("token_ids") or []
            if len(self.tokens) >= MIDST:
                self.in_midst.set()


def process_of(rank: int) -> int:
    """The process of a rank."""
    found = subprocess.run(
        ["pgrep", "-af", "shardline-server serve"], capture_output=True, text=True, check=True
    )
    return next(int(line.split()[0]) for line in found.stdout.splitlines() if f"--rank {rank} " in f"{line} ")


def streams(server: gpu.Server, count: int, tokens: int, victim: int | None) -> list[Stream]:
    begun = [Stream(server.port, number, tokens) for number in range(count)]
    if victim is not None:
        for stream in begun:
            stream.in_midst.wait()
        os.kill(process_of(victim), signal.SIGKILL)
    for stream in begun:
        stream.join()
    return begun


def tell(what: str, found: list[Stream], tokens: int) -> bool:
    """One line; whether every stream is whole."""
    whole = sum(len(stream.tokens) == tokens and stream.problem is None for stream in found)
    longest = max(stream.gap_s for stream in found)
    problems = {str(stream.problem) for stream in found if stream.problem is not None}
    print(
        f"{what}: {whole} of {len(found)} streams whole, longest gap {longest:.2f} s {problems or ''}",
        flush=True,
    )
    return whole == len(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=sorted(shapes.SHAPES), default="8b")
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=700)
    arguments = parser.parse_args()
    folder = shapes.make(arguments.model, Path(tempfile.mkdtemp()) / arguments.model)
    log = Path(tempfile.gettempdir()) / "shardline-lost-rank.log"
    server = gpu.Server(folder, log, ["--num-shard", str(arguments.shards)])
    try:
        rounds = {"undisturbed": None, "a rank killed": arguments.shards - 1, "afterwards": None}
        whole = [
            tell(what, streams(server, arguments.streams, arguments.tokens, victim), arguments.tokens)
            for what, victim in rounds.items()
        ]
    finally:
        server.stop()
    return 0 if all(whole) else 1


if __name__ == "__main__":
    raise SystemExit(main())
