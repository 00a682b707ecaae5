"""The router alone: 512 streaming clients on a mock shard, beside raw loopback writes of the same run.

    python benchmark/router.py [--pairs 3]

A mock shard answers at once, so all time is the router's, the mock's and the clients'. The raw figure
is one write a token on 512 sockets without HTTP, with one writing and one reading thread. Requests carry a
key whose limits are counted. The added latency among 256 clients is measured below saturation: each pauses
before each request.
"""

import argparse
import hashlib
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
sys.path += [str(HERE.parent / "integration-tests"), str(HERE.parent / "integration-tests" / "golden")]

from built import built

from harness import free_port, program
from make import demo_model_path

KEY = "a-key-of-the-benchmark"


class Router:
    """A router in front of one mock shard, both processes of their own."""

    def __init__(self, folder: Path, open_to_all: bool = False) -> None:
        self.port = free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        keys = folder / "keys.json"
        limits = {"requests_per_minute": 10**9, "tokens_per_minute": 10**12}
        digest = hashlib.sha256(KEY.encode()).hexdigest()
        keys.write_text(json.dumps({"keys": [{"tenant": "bench", "sha256": digest, **limits}]}))
        prefix = str(folder / "shard")
        self._shard = subprocess.Popen(
            [
                built("shardline-mock-shard"),
                "serve",
                "--shard-uds-path",
                prefix,
                "--vocab-size",
                "49152",
                "--num-blocks",
                "65536",
                "--max-sequences",
                "1024",
            ]
        )
        self._router = subprocess.Popen(
            [
                program("shardline-router"),
                "--hostname",
                "127.0.0.1",
                "--port",
                str(self.port),
                "--shard-uds-path",
                prefix,
                "--num-shard",
                "1",
                "--model-id",
                "demo",
                "--model-path",
                str(demo_model_path()),
                "--max-concurrent-requests",
                "1024",
                *(() if open_to_all else ("--api-keys-file", str(keys))),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5)
                return
            except (urllib.error.URLError, OSError):
                if self._router.poll() is not None:
                    raise SystemExit("the router ended") from None
                time.sleep(0.05)

    def cpu_s(self) -> float:
        """Seconds that the router's threads have computed so far."""
        tasks = Path(f"/proc/{self._router.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def peak_mb(self) -> float:
        """Most resident memory of the router so far."""
        return self._megabytes("VmHWM")

    def resident_mb(self) -> float:
        """Resident memory of the router now."""
        return self._megabytes("VmRSS")

    def _megabytes(self, line: str) -> float:
        status = Path(f"/proc/{self._router.pid}/status").read_text()
        match = re.search(rf"{line}:\s+(\d+) kB", status)
        return int(match[1]) / 1000 if match else float("nan")

    def stop(self) -> None:
        for process in (self._router, self._shard):
            process.terminate()
            process.wait(30)


def run(tool: str, *arguments: str) -> dict:
    return json.loads(subprocess.run([tool, *arguments], check=True, capture_output=True, text=True).stdout)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--pause-ms", type=int, default=500)
    args = parser.parse_args()
    tool = str(built("shardline-load"))
    folder = Path(tempfile.mkdtemp(prefix="shardline-bench-"))
    router = Router(folder)
    try:
        address = f"127.0.0.1:{router.port}"
        header = ("--header", f"authorization: Bearer {KEY}")
        base = ("http", "--address", address, "--vocabulary", "49152", *header)
        raw, ours, ratios = [], [], []
        for pair in range(args.pairs):
            raw.append(run(tool, "loopback")["writes_s"])
            load = ("--concurrency", "512", "--prompts", "1024", "--prompt-tokens", "64")
            ours.append(run(tool, *base, *load, "--output-tokens", "128", "--seed", str(pair))["out_tok_s"])
            ratios.append(ours[-1] / raw[-1])
        one = ("--prompts", "200", "--prompt-tokens", "64", "--output-tokens", "8", "--seed", "99")
        alone = run(tool, *base, *one)
        many = ("--concurrency", "256", "--prompts", "4096", "--prompt-tokens", "64", "--output-tokens", "8")
        among = run(tool, *base, *many, "--seed", "77", "--pause-ms", str(args.pause_ms))
        print(f"| raw loopback writes/s, 512 sockets | {statistics.median(raw):.0f} |")
        print(f"| router, mock shard, 512 streams, tokens/s | {statistics.median(ours):.0f} |")
        print(f"| ratio, median of {args.pairs} pairs | {statistics.median(ratios):.2f} |")
        print(
            f"| one client: added TTFT ms, p50 / p99 | {alone['ttft_p50_ms']:.2f} / {alone['ttft_p99_ms']:.2f} |"
        )
        print(
            f"| 256 clients, each pausing {args.pause_ms} ms: added TTFT ms, p50 / p99 | "
            f"{among['ttft_p50_ms']:.2f} / {among['ttft_p99_ms']:.2f} |"
        )
        print(f"| router's peak memory, MB | {router.peak_mb():.0f} |")
    finally:
        router.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
