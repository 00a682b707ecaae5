"""Greedy tokens equal those of `transformers` in float32, whatever runs beside them and however they are cut."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import tiny
from harness import Server, complete, serve

GOLDEN = Path(__file__).parent / "golden"


def cases(name: str) -> list[dict]:
    return json.loads((GOLDEN / f"{name}.json").read_text())


def check_all_at_once(server: Server, name: str) -> list[dict]:
    """Sends all prompts of a golden file together, compares, and returns the answers."""
    golden = cases(name)
    with server.client() as client, ThreadPoolExecutor(len(golden)) as pool:
        answers = list(pool.map(lambda case: complete(client, case["prompt_ids"]), golden))
    for case, answer in zip(golden, answers, strict=True):
        assert answer["choices"][0]["token_ids"] == case["tokens"], case.get("text", case["prompt_ids"])
        assert answer["choices"][0]["finish_reason"] == "length"
        assert answer["usage"]["completion_tokens"] == len(case["tokens"])
        assert answer["usage"]["prompt_tokens"] == len(case["prompt_ids"])
    return answers


def cached_tokens(answer: dict) -> int:
    return answer["usage"]["prompt_tokens_details"]["cached_tokens"]


def test_goldens_are_the_oracles() -> None:
    subprocess.run([sys.executable, GOLDEN / "make.py", "--check", "2"], check=True)


def test_alone_then_with_prefix_cache_hits(demo: Server) -> None:
    golden = cases("smollm2")
    with demo.client() as client:
        for case in golden:
            answer = complete(client, case["prompt_ids"])
            assert answer["choices"][0]["token_ids"] == case["tokens"], case["text"]
        hits = 0
        for case in golden:
            answer = complete(client, case["prompt_ids"])
            assert answer["choices"][0]["token_ids"] == case["tokens"], f"with a cache hit: {case['text']}"
            assert cached_tokens(answer) < len(case["prompt_ids"])
            hits += cached_tokens(answer) > 0
    long_enough = sum(len(case["prompt_ids"]) > 32 for case in golden)
    assert hits >= long_enough


def test_all_in_one_batch_without_prefix_cache() -> None:
    with serve("--model-id", "demo", "--prefix-caching", "false") as server:
        answers = check_all_at_once(server, "smollm2")
        assert {cached_tokens(answer) for answer in answers} == {0}
        answers = check_all_at_once(server, "smollm2")
        assert {cached_tokens(answer) for answer in answers} == {0}


@pytest.mark.parametrize("budget", [7, 64])
def test_chunked_prefill(budget: int) -> None:
    with serve("--model-id", "demo", "--max-batch-prefill-tokens", str(budget)) as server:
        check_all_at_once(server, "smollm2")


def test_forced_preemption() -> None:
    with serve(
        "--model-id", "demo", "--max-batch-total-tokens", "1024", "--max-total-tokens", "512"
    ) as server:
        check_all_at_once(server, "smollm2")
        assert server.metric("shardline_preemptions_total") > 0


@pytest.mark.parametrize("num_shard", [2, 3])
def test_several_shards(num_shard: int) -> None:
    """The model has three groups of heads: by two they do not divide."""
    with serve("--model-id", "demo", "--num-shard", str(num_shard)) as server:
        check_all_at_once(server, "smollm2")
        if num_shard == 2:
            server.wait_log(r"9 attention heads in 3 groups do not divide by 2 shards: each has room for 6")


@pytest.mark.parametrize("num_shard", [1, 2])
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_tiny_families(family: str, num_shard: int, tmp_path: Path) -> None:
    folder = tiny.make(family, tmp_path / family)
    with serve("--model-id", str(folder), "--num-shard", str(num_shard), "--dtype", "float32") as server:
        check_all_at_once(server, family)
