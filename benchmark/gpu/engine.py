"""The engine without a server: model and runner of one shard, driven by frames as a router would.

    PYTHONPATH=server python benchmark/gpu/engine.py --model 8b --decode 1,8,32,100,256 --out FILE
    PYTHONPATH=server torchrun --nproc-per-node 2 benchmark/gpu/engine.py --model 70b --decode 1,100

Random weights and prompts. For each batch size: the captured step alone (replays back to back), and
whole steps through the runner with two in flight, beside what the memory's bandwidth allows for the
bytes that a step must read. Prints a table and writes it as JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))
import shapes
from driver import GREEDY, Fleet, Load, run_load
from limits import Limits, measure_limits
from ranks import rank_settings

from shardline.assembly import assemble
from shardline.config import ShardConfig
from shardline.endpoint.frame import SamplingParameters


@dataclass(frozen=True, slots=True)
class DecodeRow:
    """One batch size. Milliseconds; `ratio`: the limit's time over the runner's."""

    model: str
    rows: int
    context: int
    graph_ms: float
    step_ms: float
    host_ms: float
    prepare_us: float
    forward_us: float
    sample_us: float
    tok_s: float
    limit_ms: float
    ratio: float


def median_replay_ms(graph: torch.cuda.CUDAGraph, replays: int = 20, rounds: int = 5) -> float:
    """Median over rounds of the mean time of back-to-back replays."""
    times = []
    graph.replay()
    for _ in range(rounds):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(replays):
            graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / replays)
    return statistics.median(times)


def decode_row(fleet: Fleet, name: str, rows: int, context: int, limits: Limits) -> DecodeRow:
    """Prefills `rows` sequences up to `context` tokens and measures decode steps there."""
    fleet.fill(rows, context - 24)
    fleet.decode(16)
    step_ms, host_ms = fleet.timed_decode(64)
    prepare_us, forward_us, sample_us = (
        statistics.median(getattr(timings, name) for timings in fleet.parts)
        for name in ("prepare_us", "forward_us", "sample_us")
    )
    graph_ms = median_replay_ms(fleet.last_graph())
    shape = shapes.SHAPES[name]
    bytes_read = 2 * shape.product_parameters + rows * context * shape.kv_bytes_per_token()
    limit_ms = bytes_read / limits.read_bytes_s * 1e3
    fleet.clear()
    return DecodeRow(
        name,
        rows,
        context,
        graph_ms,
        step_ms,
        host_ms,
        prepare_us,
        forward_us,
        sample_us,
        rows / step_ms * 1e3,
        limit_ms,
        limit_ms / step_ms,
    )


def prefill_row(fleet: Fleet, name: str, sequences: int, tokens: int, limits: Limits) -> dict[str, float]:
    """Prompts of `tokens` tokens, in steps as large as the shard takes; the second of two runs."""
    for _ in range(2):
        torch.cuda.synchronize()
        began = time.perf_counter()
        fleet.fill(sequences, tokens)
        took = time.perf_counter() - began
        fleet.clear()
    flops = 2 * shapes.SHAPES[name].product_parameters * sequences * tokens
    found = {
        "sequences": sequences,
        "tokens": tokens,
        "ms": took * 1e3,
        "tok_s": sequences * tokens / took,
        "ratio": flops / limits.matmul_flop_s / took,
    }
    print(
        f"{name} prefill {sequences} x {tokens}: {took * 1e3:.1f} ms, ratio {found['ratio']:.2f}", flush=True
    )
    return found


def mixed_rows(fleet: Fleet, rows: int, context: int, chunks: list[int]) -> list[dict[str, float]]:
    """Captured steps of `rows` decode rows and a chunk of prompt, milliseconds."""
    found = []
    for chunk in chunks:
        graph = fleet.captured_mixed(rows, context, chunk)
        found.append({"rows": rows, "chunk": chunk, "graph_ms": median_replay_ms(graph, 6, 3)})
        print(f"mixed {rows} rows + {chunk}: {found[-1]['graph_ms']:.2f} ms", flush=True)
        fleet.clear()
    return found


ASKING = {
    "nothing": {},
    "logprobs": {"logprobs": True, "top_logprobs": 5},
    "penalties": {"frequency_penalty": 0.5, "repetition_penalty": 1.1},
    "bias": {
        "logit_bias_ids": np.arange(4, dtype=np.int32).tobytes(),
        "logit_bias_values": np.ones(4, np.float32).tobytes(),
    },
    "typical_p": {"typical_p": 0.9},
    "top_k and top_p": {"top_k": 40, "top_p": 0.9},
}


def asking_rows(fleet: Fleet, rows: int, context: int, shares: list[int]) -> list[dict[str, object]]:
    """Decode steps of `rows` drawn rows of which some ask for more: milliseconds a step."""
    found: list[dict[str, object]] = []
    for what, fields in ASKING.items():
        for share in shares if fields else [0]:
            for number in range(rows):
                more = fields if number < share else {}
                fleet.sampling = SamplingParameters(temperature=1.0, **more)
                fleet.add(context - 24, 1 << 30)
            fleet.sampling = GREEDY
            fleet.prefill()
            fleet.decode(8)
            step_ms, host_ms = fleet.timed_decode(32)
            fleet.clear()
            found.append(
                {"rows": rows, "asking": share, "what": what, "step_ms": step_ms, "host_ms": host_ms}
            )
            print(
                f"{rows} rows, {share} ask for {what}: step {step_ms:.2f} ms, host {host_ms:.2f} ms",
                flush=True,
            )
    return found


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=sorted(shapes.SHAPES), default="8b")
    parser.add_argument("--decode", default="1,8,32,100,256")
    parser.add_argument("--context", type=int)
    parser.add_argument("--mixed", default="", help="tokens of a chunk of prompt, …")
    parser.add_argument("--mixed-rows", default="100", help="decode rows beside each of these chunks, …")
    parser.add_argument("--prefill", default="", help="SEQUENCES:TOKENS,…")
    parser.add_argument(
        "--asking", default="", help="ROWS:ASKING:ASKING…,…: steps some of whose rows ask for more"
    )
    parser.add_argument("--loads", default="", help="N:PROMPT:OUTPUT,…: closed loops of 3 N requests")
    parser.add_argument("--step-tokens", type=int, default=2048)
    parser.add_argument("--max-sequences", type=int, default=512)
    parser.add_argument("--kv-cache-tokens", type=int, default=262144)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def whole_numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]


def main() -> None:
    arguments = parse_arguments()
    ranks = rank_settings()
    name = arguments.model
    context = arguments.context or (640 if name == "8b" else 192)
    limits = measure_limits().of_cards(ranks.get("world_size", 1))
    print(limits.line(), flush=True)
    folder = shapes.make(name, Path(tempfile.mkdtemp()) / name)
    config = ShardConfig(
        model_path=folder,
        shard_uds_path="unused",
        dtype="bfloat16",
        load_format="dummy",
        max_step_tokens=arguments.step_tokens,
        max_sequences=arguments.max_sequences,
        kv_cache_tokens=arguments.kv_cache_tokens,
        max_total_tokens=8192,
        **ranks,
    )
    began = time.perf_counter()
    notes: list[str] = []

    def report(phase: object, message: str) -> None:
        notes.append(f"{time.perf_counter() - began:.1f} s {message}")

    shard = assemble(config, report)
    notes.append(f"{time.perf_counter() - began:.1f} s ready")
    # What a server does while nobody asks.
    while shard.runner.work_ahead():
        pass
    notes.append(f"{time.perf_counter() - began:.1f} s captured")
    print(f"start: {'; '.join(notes)}", flush=True)
    fleet = Fleet(shard)
    rows = []
    for count in whole_numbers(arguments.decode):
        row = decode_row(fleet, name, count, context, limits)
        rows.append(asdict(row))
        print(
            f"{name} {count:4d} rows at {context}: graph {row.graph_ms:.3f} ms, step {row.step_ms:.3f} ms, "
            f"host {row.host_ms:.3f} ms ({row.prepare_us:.0f} + {row.forward_us:.0f} + {row.sample_us:.0f} us), {row.tok_s:.0f} tok/s, limit {row.limit_ms:.3f} ms, "
            f"ratio {row.ratio:.2f}",
            flush=True,
        )
    mixed = []
    for count in whole_numbers(arguments.mixed_rows) if arguments.mixed else ():
        mixed += mixed_rows(fleet, count, context, whole_numbers(arguments.mixed))
    prefills = [
        prefill_row(fleet, name, int(sequences), int(tokens), limits)
        for sequences, tokens in (text.split(":") for text in arguments.prefill.split(",") if text)
    ]
    asking = []
    for text in filter(None, arguments.asking.split(",")):
        count, *shares = map(int, text.split(":"))
        asking += asking_rows(fleet, count, context, shares)
    loads = []
    for text in filter(None, arguments.loads.split(",")):
        result = run_load(fleet, Load.parse(text))
        loads.append(asdict(result))
        print(result.line(name), flush=True)
    shard.close()
    if arguments.out and not ranks.get("rank"):
        commit = subprocess.run(
            ["git", "rev-parse", "--verify", "--quiet", "HEAD"], capture_output=True, text=True, check=False
        ).stdout.strip()
        record = {
            "machine": limits.device,
            "torch": torch.__version__,
            "commit": commit,
            "command": " ".join(sys.argv),
            "limits": asdict(limits),
            "start": notes,
            "decode": rows,
            "mixed": mixed,
            "prefill": prefills,
            "asking": asking,
            "loads": loads,
        }
        arguments.out.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
