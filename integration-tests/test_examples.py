"""The programs of examples/ as a user runs them, and a shard without a router."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import Server, program
from make import demo_model_path
from shardline.client import Sampling, ShardClient, ShardUnavailable

EXAMPLES = Path(__file__).parents[1] / "examples"
GOLDEN = Path(__file__).parent / "golden"
ANSWER = "The capital of France is Paris."


def run_example(name: str, *arguments: str) -> str:
    """What the program prints; its errors are shown with a failing test."""
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=180).stdout


@pytest.mark.parametrize("name", ["openai_chat.py", "inference_client.py"])
def test_clients_of_the_server(demo: Server, name: str) -> None:
    assert ANSWER in run_example(name, demo.base_url)


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The socket of a shard that nobody else speaks to. It may still be loading."""
    prefix = tmp_path_factory.mktemp("shard") / "shard"
    command = [program("shardline-server"), "serve", str(demo_model_path()), "--shard-uds-path", str(prefix)]
    process = subprocess.Popen(command)
    try:
        yield f"{prefix}-0"
    finally:
        process.terminate()
        process.wait(timeout=60)


def test_a_client_of_the_shard(shard: str) -> None:
    printed = run_example("shard_client.py", shard).splitlines()
    assert printed[0] == "llama in float32 on cpu, 49152 tokens"
    greedy, sampled = (line.split(":")[1].split() for line in printed[1:3])
    assert len(greedy) == len(sampled) == 16
    assert greedy[:3] == ["7042", "30", "198"], "504 3575 282 4649 314: The capital of France is Paris."


def test_a_shard_alone_gives_the_oracles_tokens(shard: str) -> None:
    """After `test_a_client_of_the_shard` it is ready. A batch of prompts of mixed lengths."""
    golden = json.loads((GOLDEN / "smollm2.json").read_text())[:8]
    with ShardClient.connect(shard) as client:
        while True:
            try:
                client.info()
                break
            except ShardUnavailable:
                continue
        found: list[list[int]] = [[] for _ in golden]
        for token in client.generate([case["prompt_ids"] for case in golden], 64, Sampling(temperature=0.0)):
            found[token.prompt].append(token.id)
    assert found == [case["tokens"] for case in golden]
