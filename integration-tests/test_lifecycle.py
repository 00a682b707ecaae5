"""Start, ready, drain, death: no process outlives the launcher, and what went wrong is said in a sentence."""

import json
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import httpx
import pytest

import tiny
from harness import STOP_TIMEOUT_S, Server, children, complete, program, serve
from hostile import eventually


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program("shardline-launcher"), *arguments], check=False, capture_output=True, text=True, timeout=300
    )


def wait_gone(pids: list[int]) -> None:
    """Waits until none of the processes lives (a zombie does not)."""
    deadline = time.monotonic() + STOP_TIMEOUT_S

    def lives(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
        except OSError:
            return False

    while any(lives(pid) for pid in pids):
        assert time.monotonic() < deadline, f"still alive: {[pid for pid in pids if lives(pid)]}"
        os.sched_yield()


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make("llama", tmp_path_factory.mktemp("tiny") / "llama")


def test_health_tells_the_phase_until_ready(tiny_model: Path) -> None:
    server = Server("--model-id", str(tiny_model))
    try:
        while True:
            try:
                response = httpx.get(f"{server.base_url}/health", timeout=60)
                break
            except httpx.ConnectError:
                assert server.process.poll() is None, server.log
        assert response.status_code == 503
        assert response.json()["error_type"] == "healthcheck"
        refused = httpx.post(f"{server.base_url}/v1/completions", json={"prompt": [5]}, timeout=60)
        assert refused.status_code == 503
        server.wait_ready()
        assert httpx.get(f"{server.base_url}/health", timeout=60).status_code == 200
    finally:
        server.stop()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_drain_lets_running_streams_finish(tiny_model: Path, how: signal.Signals) -> None:
    server = Server("--model-id", str(tiny_model))
    try:
        server.wait_ready()
        pids = children(server.process.pid)
        assert len(pids) >= 2
        body = {"prompt": [5, 6], "max_tokens": 400, "ignore_eos": True, "temperature": 0, "stream": True}
        with httpx.stream("POST", f"{server.base_url}/v1/completions", json=body, timeout=60) as response:
            lines = response.iter_lines()
            next(lines)
            server.process.send_signal(how)
            events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
        assert [
            e["choices"][0]["finish_reason"]
            for e in events
            if e["choices"] and e["choices"][0]["finish_reason"]
        ] == ["length"]
        assert server.process.wait(STOP_TIMEOUT_S) == 0, server.log
        wait_gone(pids)
    finally:
        server.stop()


def test_nothing_outlives_a_killed_launcher(tiny_model: Path) -> None:
    server = Server("--model-id", str(tiny_model), "--num-shard", "2")
    try:
        server.wait_ready()
        pids = children(server.process.pid)
        assert len(pids) >= 3
        server.process.kill()
        wait_gone(pids)
    finally:
        server.stop()


def test_a_dead_shard_takes_the_rest_down_with_its_last_words(tiny_model: Path) -> None:
    server = Server("--model-id", str(tiny_model))
    try:
        server.wait_log(r"listening")
        pids = children(server.process.pid)
        assert server.kill_every_shard() >= 1
        wait_gone(pids)
        server.wait_log(r"error: shard-0 was killed by SIGKILL")
        assert server.process.wait(STOP_TIMEOUT_S) != 0
    finally:
        server.stop()


def test_two_servers_on_one_machine(tiny_model: Path) -> None:
    flags = ("--model-id", str(tiny_model), "--num-shard", "2")
    with serve(*flags) as one, serve(*flags) as two, one.client() as first, two.client() as second:
        answers = [complete(client, [5, 6, 7], 8)["choices"][0]["token_ids"] for client in (first, second)]
    assert answers[0] == answers[1]


def test_a_number_of_shards_that_cannot_be(tiny_model: Path) -> None:
    failed = run("--model-id", str(tiny_model), "--num-shard", "5", "--port", "0")
    assert failed.returncode != 0
    assert "use --num-shard 4 or fewer" in failed.stdout + failed.stderr


def test_wrong_flags_are_named() -> None:
    cases = {
        ("--model-idd", "x"): "--model-id",
        ("--quantize", "awq"): "--quantize is not supported yet",
        ("--model-id", "demo", "--max-input-tokens", "many"): "max-input-tokens",
        ("--model-id", "/no/such/folder"): "/no/such/folder",
    }
    for arguments, text in cases.items():
        failed = run(*arguments)
        assert failed.returncode != 0, arguments
        assert text in failed.stdout + failed.stderr, (arguments, failed.stdout, failed.stderr)
        assert "Traceback" not in failed.stdout + failed.stderr


def test_a_port_in_use_is_one_sentence(tiny_model: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        failed = run("--model-id", str(tiny_model), "--hostname", "127.0.0.1", "--port", port)
    assert failed.returncode != 0
    assert port in failed.stdout + failed.stderr
    assert "Traceback" not in failed.stdout + failed.stderr


def test_a_client_that_goes_away_frees_its_blocks(demo: Server) -> None:
    body = {
        "prompt": "Once upon a time",
        "max_tokens": 1000,
        "ignore_eos": True,
        "temperature": 0,
        "stream": True,
    }
    with httpx.stream("POST", f"{demo.base_url}/v1/completions", json=body, timeout=60) as response:
        lines = response.iter_lines()
        next(lines)
        # The numbers are told after the token.
        assert eventually(lambda: demo.metric("shardline_sequences_running") == 1)
    assert eventually(lambda: demo.metric("shardline_sequences_running") == 0)
    assert eventually(lambda: demo.metric("shardline_kv_blocks_in_use") == 0)


def test_sixteen_streams_and_their_steps_overlap(demo: Server) -> None:
    before = demo.metric("shardline_overlapped_steps_total")
    done: list[int] = []

    def one(seed: int) -> None:
        with demo.client() as client:
            done.append(len(complete(client, [seed + 5, 17, 23], 24)["choices"][0]["token_ids"]))

    threads = [threading.Thread(target=one, args=(i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [24] * 16
    assert demo.metric("shardline_overlapped_steps_total") > before
