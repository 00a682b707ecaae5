"""A lost shard is a pause: the group is replaced, every stream goes on with the tokens it would have had."""

import os
import signal
from pathlib import Path

import httpx
import pytest

import tiny
from greedy import GreedyStream
from harness import STOP_TIMEOUT_S, Server, complete, serve

STREAMS = 4
TOKENS = 100
BACK = r"the shards are back after"


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make("llama", tmp_path_factory.mktemp("tiny") / "llama")


def prompt(number: int) -> list[int]:
    return [5 + number, 17, 23, 11]


def streams_in_their_midst(server: Server, victim: int) -> list[GreedyStream]:
    """Streams that have begun and do not go on, as the process is stopped."""
    while True:
        streams = [GreedyStream(server.base_url, prompt(number), TOKENS) for number in range(STREAMS)]
        for stream in streams:
            assert stream.in_midst.wait(STOP_TIMEOUT_S)
        os.kill(victim, signal.SIGSTOP)
        if all(stream.is_alive() and len(stream.tokens) < TOKENS / 2 for stream in streams):
            return streams
        os.kill(victim, signal.SIGCONT)
        for stream in streams:
            stream.join(STOP_TIMEOUT_S)


@pytest.mark.parametrize(
    ("num_shard", "how", "flags"),
    [
        (1, signal.SIGKILL, ()),
        (2, signal.SIGKILL, ()),
        # It never ends by itself: only the answer that does not come tells.
        (2, signal.SIGSTOP, ("--step-timeout", "8")),
    ],
)
def test_streams_go_on_when_a_rank_is_lost(
    tiny_model: Path, num_shard: int, how: signal.Signals, flags: tuple[str, ...]
) -> None:
    flags = ("--model-id", str(tiny_model), "--num-shard", str(num_shard), "--dtype", "float32", *flags)
    with serve(*flags) as server, server.client() as client:
        victim = server.shard(num_shard - 1)
        assert victim is not None
        streams = streams_in_their_midst(server, victim)
        os.kill(victim, how)
        server.wait_log(BACK)
        for stream in streams:
            stream.join(STOP_TIMEOUT_S)
        assert [stream.problem for stream in streams] == [None] * STREAMS, server.log
        undisturbed = [
            complete(client, prompt(number), TOKENS)["choices"][0]["token_ids"] for number in range(STREAMS)
        ]
        assert [stream.tokens for stream in streams] == undisturbed
        assert httpx.get(f"{server.base_url}/health", timeout=60).status_code == 200


def test_a_shard_that_is_killed_again_and_again_ends_the_server(tiny_model: Path) -> None:
    server = Server("--model-id", str(tiny_model))
    try:
        server.wait_ready()
        killed = server.kill_every_shard()
        assert server.process.wait(STOP_TIMEOUT_S) != 0
        assert killed > 1
        server.wait_log(r"error: shard-0 was killed by SIGKILL(,| before the restarted shards were ready)")
    finally:
        server.stop()
