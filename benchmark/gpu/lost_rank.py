"""What a killed rank costs those who stream: how long nothing came, and whether all tokens did.

    python benchmark/gpu/lost_rank.py [--shards 2] [--model 8b]

Starts the server with random weights, streams to some clients, kills the last rank in their midst, and
streams once more when all of them have ended.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path

BENCHMARK = Path(__file__).parent.parent
sys.path[:0] = [str(BENCHMARK), str(BENCHMARK.parent / "integration-tests")]
import gpu
import shapes

from greedy import GreedyStream
from harness import shard_process

MIDST = 100


def streams(server: gpu.Server, count: int, tokens: int, victim: int | None) -> list[GreedyStream]:
    base_url = f"http://127.0.0.1:{server.port}"
    begun = [GreedyStream(base_url, [5 + number, 17, 23, 11], tokens, MIDST) for number in range(count)]
    if victim is not None:
        for stream in begun:
            stream.in_midst.wait()
        process = shard_process(server.process.pid, victim)
        assert process is not None
        os.kill(process, signal.SIGKILL)
    for stream in begun:
        stream.join()
    return begun


def tell(what: str, found: list[GreedyStream], tokens: int) -> bool:
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
