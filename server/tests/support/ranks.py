"""One rank of a shard group in a process of its own: reads pickled frames, answers with outcomes.

The parent sends the same bytes to every rank, as a router does. Standard input and output carry
lengths (8 bytes, little-endian) and pickles; the parent is a test, so nothing hostile comes in.
"""

from __future__ import annotations

import os
import pickle
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO

TESTS = Path(__file__).parent.parent


def write(stream: BinaryIO, value: object) -> None:
    data = pickle.dumps(value)
    stream.write(struct.pack("<Q", len(data)) + data)
    stream.flush()


def read(stream: BinaryIO) -> Any:
    (length,) = struct.unpack("<Q", stream.read(8))
    return pickle.loads(stream.read(length))


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class Ranks:
    """Looks like a runner to the driver: frames go to all ranks, the first one's outcome comes back."""

    def __init__(self, world_size: int, port: int, folder: Path, **changes: Any) -> None:
        self.processes = [
            subprocess.Popen(
                [sys.executable, __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            for _ in range(world_size)
        ]
        for rank, process in enumerate(self.processes):
            settings = {"rank": rank, "world_size": world_size, "master_port": port, "threads": 1}
            write(process.stdin, (folder, {**settings, **changes}))
        self.infos = [read(process.stdout) for process in self.processes]

    def launch(self, frame: object) -> list[Any]:
        for process in self.processes:
            write(process.stdin, frame)
        return [read(process.stdout) for process in self.processes]

    def complete(self, outcomes: list[Any]) -> Any:
        assert all(not len(outcome.sequence_ids) for outcome in outcomes[1:])
        return outcomes[0]

    def close(self) -> None:
        for process in self.processes:
            process.stdin.close()
        codes = [process.wait(timeout=60) for process in self.processes]
        assert codes == [0] * len(codes)


def serve() -> None:
    # Libraries may print; answers alone go to the parent.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    from support.models import start

    folder, settings = read(sys.stdin.buffer)
    shard, _ = start(folder, **settings)
    write(answers, shard.info)
    while True:
        try:
            frame = read(sys.stdin.buffer)
        except struct.error:
            break
        pending = shard.runner.launch(frame)
        shard.runner.work_between()
        write(answers, shard.runner.complete(pending))
    shard.close()


if __name__ == "__main__":
    sys.path.insert(0, str(TESTS))
    serve()
