"""The loads of the README's table over HTTP: real launcher, router and shard, random weights.

    python benchmark/gpu.py [--rows 8b:100:512:256,...] [--shards 2] [--out benchmark/results/gpu.json]

Starts each model's server once more at the end, to tell how long that takes when kernels are known.
Prints a table with the ratio to the limit that copy bandwidth and matmul rate, measured first in the
same run on each of the cards, allow: the rate of a moment, and the one that a card sustains. Writes the rows
as JSON.
"""

import argparse
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import shapes
from built import built

ROWS = (
    "8b:1:512:256,8b:8:512:256,8b:32:512:256,8b:50:512:256,8b:100:512:256,8b:256:512:256,8b:64:2048:128,"
    "1b:64:128:128,1b:256:128:128,1b:512:128:128"
)
SHARDED_ROWS = ",".join(f"{model}:{n}:512:256" for model in ("8b", "70b") for n in (1, 32, 100, 256))

CAPTURED = b"the usual steps are captured"
# What nvidia-smi is to look at.
FIRST_CARD = ("-i", (os.environ.get("CUDA_VISIBLE_DEVICES") or "0").partition(",")[0])


@dataclass(frozen=True, slots=True)
class Row:
    """One load: requests under way at once, tokens of each prompt and of each answer."""

    model: str
    concurrency: int
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Card:
    """What one of the cards gives: see `gpu/limits.py`, in another process, which leaves the card as it was."""

    device: str
    read_bytes_s: float
    copy_bytes_s: float
    matmul_flop_s: float
    sustained_flop_s: float

    def line(self) -> str:
        """For people."""
        return (
            f"{self.device}, copy {self.copy_bytes_s / 1e12:.2f} TB/s, matmul {self.matmul_flop_s / 1e12:.0f} TFLOP/s "
            f"({self.sustained_flop_s / 1e12:.0f} sustained)"
        )


def measure_cards(count: int) -> list[Card]:
    """The cards that a server of `count` shards uses, one after the other; some three seconds each."""
    command = [sys.executable, str(Path(__file__).parent / "gpu" / "limits.py"), str(count)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [Card(**json.loads(line)) for line in out.splitlines()[-count:]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """The launcher, with its log in a file."""

    def __init__(self, folder: Path, log: Path, arguments: list[str], load_format: str = "dummy") -> None:
        self.port = free_port()
        self.log = log
        self.started = time.monotonic()
        launcher = shutil.which("shardline-launcher") or str(
            Path(sys.executable).parent / "shardline-launcher"
        )
        command = [
            launcher,
            "--model-id",
            str(folder),
            "--load-format",
            load_format,
            "--dtype",
            "bfloat16",
            "--hostname",
            "127.0.0.1",
        ]
        command += [
            "--port",
            str(self.port),
            "--max-concurrent-requests",
            "1024",
            "--prefix-caching",
            "false",
            *arguments,
        ]
        self.process = subprocess.Popen(command, stdout=log.open("wb"), stderr=subprocess.STDOUT)
        self._wait()

    def _wait(self) -> None:
        while True:
            if self.process.poll() is not None:
                raise SystemExit(f"the server ended:\n{self.log.read_text()[-6000:]}")
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5)
                return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)

    def first_token_s(self) -> float:
        """Seconds from the launcher's start to the end of a one-token answer."""
        body = json.dumps({"prompt": [5, 6, 7], "max_tokens": 1, "temperature": 0}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v1/completions", body, {"content-type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=120).read()
        return time.monotonic() - self.started

    def settle(self) -> None:
        """Waits until the usual steps are captured, which happens while nothing runs; 15 s at most."""
        end = time.monotonic() + 15
        while time.monotonic() < end and CAPTURED not in self.log.read_bytes():
            time.sleep(0.1)

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()


def load(tool: str, port: int, row: Row, prompts: int, seed: int) -> dict:
    command = [
        tool,
        "http",
        "--address",
        f"127.0.0.1:{port}",
        "--concurrency",
        str(row.concurrency),
        "--prompts",
        str(prompts),
    ]
    command += ["--prompt-tokens", str(row.prompt_tokens), "--output-tokens", str(row.output_tokens)]
    command += ["--vocabulary", "127999", "--seed", str(seed), "--threads", "4"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=400)
    if done.returncode:
        raise SystemExit(f"{row}: {done.stderr}")
    return json.loads(done.stdout)


def sample_gpu(stop: threading.Event, seen: list[int]) -> None:
    """Samples nvidia-smi's utilisation while a load runs."""
    while not stop.wait(1):
        out = subprocess.run(
            ["nvidia-smi", *FIRST_CARD, "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"],
            check=False,
            capture_output=True,
            text=True,
        ).stdout
        seen += [int(value) for value in re.findall(r"\d+", out)[:1]]


def keep(result: dict, out: Path) -> None:
    """After each row: a run that is cut off leaves what it has measured."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")


def commit() -> str:
    """COMMIT says it where the tree is a copy."""
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], check=False, capture_output=True, text=True
    )
    return os.environ.get("COMMIT") or done.stdout.strip() or "unknown"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", help="model:concurrency:prompt tokens:output tokens, …")
    parser.add_argument("--shards", type=int, default=1, help="GPUs that hold the model together")
    parser.add_argument("--load-tool", default=str(built("shardline-load")))
    parser.add_argument("--out", type=Path, default=Path("benchmark/results/gpu.json"))
    parser.add_argument("--log", type=Path, default=Path(tempfile.gettempdir()) / "shardline-bench.log")
    parser.add_argument(
        "--seconds", type=float, default=1e9, help="start no further row after this many seconds"
    )
    parser.add_argument("server_arguments", nargs="*", help="further flags of the launcher, after --")
    args = parser.parse_args()
    begin = time.monotonic()
    cards = measure_cards(args.shards)
    machine = (
        f"{'; '.join(card.line() for card in cards)}, {os.cpu_count()} cores, {platform.python_version()}"
    )
    print(machine, flush=True)
    asked = args.rows or (ROWS if args.shards == 1 else SHARDED_ROWS)
    rows = [Row(m, int(c), int(p), int(o)) for m, c, p, o in (r.split(":") for r in asked.split(","))]
    server_arguments = ["--num-shard", str(args.shards), *args.server_arguments]
    result: dict = {
        "machine": machine,
        "commit": commit(),
        "rows": [],
        "start_to_first_token_s": {},
        "warm_start_to_first_token_s": {},
    }
    for model in dict.fromkeys(row.model for row in rows):
        folder = shapes.make(model, Path(tempfile.mkdtemp()) / model)
        server = Server(folder, args.log.with_suffix(f".{model}.log"), server_arguments)
        try:
            result["start_to_first_token_s"][model] = round(server.first_token_s(), 2)
            print(f"{model}: start to first token {result['start_to_first_token_s'][model]} s", flush=True)
            server.settle()
            for index, row in enumerate(r for r in rows if r.model == model):
                if time.monotonic() - begin > args.seconds:
                    print("out of time", flush=True)
                    break
                load(args.load_tool, server.port, row, row.concurrency, 1000 + index)
                prompts = 3 * row.concurrency if row.concurrency > 1 else 5
                stop, seen = threading.Event(), []
                sampler = threading.Thread(target=sample_gpu, args=(stop, seen))
                sampler.start()
                figures = load(args.load_tool, server.port, row, prompts, 2000 + index)
                stop.set()
                sampler.join()
                limit, sustained = (
                    shapes.limit_tok_s(
                        shapes.SHAPES[model],
                        row.concurrency,
                        prompts,
                        row.prompt_tokens,
                        row.output_tokens,
                        sum(card.copy_bytes_s for card in cards),
                        flop_s,
                    )
                    for flop_s in (
                        sum(card.matmul_flop_s for card in cards),
                        sum(card.sustained_flop_s for card in cards),
                    )
                )
                entry = {
                    "model": model,
                    "dtype": "bfloat16",
                    "shards": args.shards,
                    "concurrency": row.concurrency,
                    "prompts": prompts,
                    "prompt_tokens": row.prompt_tokens,
                    "output_tokens": row.output_tokens,
                    **{
                        k: round(figures[k], 2)
                        for k in ("out_tok_s", "ttft_mean_ms", "ttft_p99_ms", "itl_mean_ms", "itl_p99_ms")
                    },
                    "limit_tok_s": round(limit, 1),
                    "sustained_limit_tok_s": round(sustained, 1),
                    "gpu_busy_percent": max(seen, default=None),
                }
                result["rows"].append(entry)
                keep(result, args.out)
                print(
                    f"| {model} {row.concurrency} × {row.prompt_tokens}/{row.output_tokens} | {entry['out_tok_s']:.0f} tok/s "
                    f"| {entry['out_tok_s'] / limit:.2f} of {limit:.0f}, {entry['out_tok_s'] / sustained:.2f} of {sustained:.0f} sustained | TTFT {entry['ttft_mean_ms']:.0f} ms, P99 {entry['ttft_p99_ms']:.0f} "
                    f"| ITL {entry['itl_mean_ms']:.1f}, P99 {entry['itl_p99_ms']:.1f} ms |",
                    flush=True,
                )
            server.stop()
            server = Server(folder, args.log.with_suffix(f".{model}.warm.log"), server_arguments)
            result["warm_start_to_first_token_s"][model] = round(server.first_token_s(), 2)
            print(f"{model}: warm, {result['warm_start_to_first_token_s'][model]} s", flush=True)
        finally:
            server.stop()
            keep(result, args.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
