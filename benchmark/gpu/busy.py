"""How busy the GPU is under a steady load, and which kernels a step's time goes to.

    PYTHONPATH=server python benchmark/gpu/busy.py --model 8b --load 100:512:256 --decode 1,8,32,100,256

The runner is driven in process by frames, as a router does. The load is a closed loop; a window of it
is recorded by torch's profiler, which also sees each kernel of a captured graph. Then steps of one
size are recorded, and their kernels listed in microseconds a step. Recording has a cost of its own:
the same steps are also timed without it, and both times are printed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))
import shapes
from driver import Fleet, Load, LoadResult, run_load
from engine import median_replay_ms
from ranks import rank_settings
from timeline import Recorder, Span, Summary, overlap_names, summarise

from shardline.assembly import Shard, assemble
from shardline.config import ShardConfig
from shardline.endpoint.frame import FrameFields, Outcome
from shardline.runner.forward import JoinedForward
from shardline.runner.runner import PendingStep, Runner


def ignore_launch(rows: int) -> None:
    """For a runner that nobody watches."""


class WatchedRunner:
    """A runner that notes when the host was where, and tells of every launch and its rows."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.host: list[Span] = []
        self.on_launch: Callable[[int], None] = ignore_launch
        self._left_ns = time.time_ns()

    @property
    def joined(self) -> JoinedForward | None:
        return self._runner.joined

    def launch(self, frame: FrameFields) -> PendingStep:
        self.on_launch(len(frame.num_tokens) // 4)
        began = time.time_ns()
        self.host.append(Span("the driver", self._left_ns, began))
        pending = self._runner.launch(frame)
        parts = (("prepare", "prepare_us"), ("forward", "forward_us"), ("sample and fetch", "sample_us"))
        for name, taken in parts:
            end = began + 1000 * getattr(pending.timings, taken)
            self.host.append(Span(f"launch: {name}", began, end))
            began = end
        self._left_ns = time.time_ns()
        return pending

    def complete(self, pending: PendingStep) -> Outcome:
        began = time.time_ns()
        outcome = self._runner.complete(pending)
        self._left_ns = time.time_ns()
        self.host.append(Span("complete", began, self._left_ns))
        return outcome


@dataclass(slots=True)
class Window:
    """A part of a load: from `after_s` of it on, for `length_s`, cut at launches.

    `recorder`: records it; none: only its steps and rows are counted. A row is a token that comes out,
    but for prompts that take several steps.
    """

    after_s: float
    length_s: float
    recorder: Recorder | None
    began_s: float = field(default_factory=time.perf_counter)
    start_ns: int = 0
    end_ns: int = 0
    rows: int = 0
    launches_ns: list[int] = field(default_factory=list)
    found: tuple[Sequence[Span], Sequence[Span]] = ((), ())

    def launched(self, rows: int) -> None:
        """Called before every launch."""
        passed = time.perf_counter() - self.began_s
        if self.end_ns or passed < self.after_s:
            return
        if not self.start_ns:
            if self.recorder:
                self.recorder.start()
            self.start_ns = time.time_ns()
        elif passed < self.after_s + self.length_s:
            self.launches_ns.append(time.time_ns())
            self.rows += rows
        else:
            self.end_ns = time.time_ns()
            if self.recorder:
                self.found = self.recorder.stop()

    def steps_from(self, start_ns: int) -> int:
        """Launches since a moment of the window."""
        return sum(launch >= start_ns for launch in self.launches_ns)

    @property
    def step_us(self) -> float:
        return (self.end_ns - self.start_ns) / 1e3 / len(self.launches_ns)

    def line(self) -> str:
        """For people."""
        seconds = (self.end_ns - self.start_ns) / 1e9
        return f"{len(self.launches_ns)} steps of {self.step_us:.0f} us, {self.rows / seconds:.0f} rows/s"


def watch_load(fleet: Fleet, watched: WatchedRunner, load: Load, window: Window) -> LoadResult:
    """Runs a load with a window in it."""
    watched.on_launch = window.launched
    result = run_load(fleet, load)
    watched.on_launch = ignore_launch
    if not window.end_ns:
        raise SystemExit("the load ended before the window did: --after or --window is too long for it")
    return result


def print_work(title: str, summary: Summary, steps: int, most: int) -> None:
    """Categories and kernels, microseconds a step."""
    busy_us = summary.busy * summary.window_us
    print(f"\n## {title}")
    print(
        f"window {summary.window_us / 1e3:.1f} ms, {steps} steps, GPU busy {100 * summary.busy:.2f} %, "
        f"{summary.window_us / steps:.1f} us a step"
    )
    print("share   us/step  category")
    for category, us in summary.categories():
        print(f"{100 * us / busy_us:5.1f}% {us / steps:9.1f}  {category}")
    print("share   us/step  runs/step  us/run  alone us/run  kernel")
    for work in summary.work[:most]:
        print(
            f"{100 * work.us / busy_us:5.1f}% {work.us / steps:9.1f} {work.count / steps:10.2f} "
            f"{work.us / work.count:7.2f} {work.alone_us / work.count:13.2f}  {work.name[:110]}"
        )


def record_load(fleet: Fleet, watched: WatchedRunner, load: Load, after_s: float, length_s: float) -> dict:
    """A window of the load in its steady state, with the gaps and what the host did in them."""
    plain_window = Window(after_s, length_s, None)
    plain = watch_load(fleet, watched, load, plain_window)
    window = Window(after_s, length_s, Recorder())
    watch_load(fleet, watched, load, window)
    device, host_calls = window.found
    # The first launches of the window pay for the recorder's start: leave a fifth out.
    start = window.start_ns + (window.end_ns - window.start_ns) // 5
    summary = summarise(device, start, window.end_ns)
    print_work(f"{load.concurrency} x {load.prompt}/{load.output}", summary, window.steps_from(start), 24)
    print(plain.line("the whole load, not recorded:"))
    print(f"the window not recorded: {plain_window.line()}; recorded: {window.line()}")
    idle_us = sum(gap.us for gap in summary.gaps)
    long = [gap for gap in summary.gaps if gap.us > 20]
    print(
        f"idle {idle_us / 1e3:.2f} ms in {len(summary.gaps)} gaps; {sum(g.us for g in long) / 1e3:.2f} ms "
        f"in {len(long)} gaps over 20 us. The largest, and what the host did meanwhile:"
    )
    for gap in summary.gaps[:12]:
        print(
            f"{gap.us:7.0f} us after {gap.after[:40]} before {gap.before[:40]}: "
            f"{overlap_names(watched.host, gap)}; calls: {overlap_names(host_calls, gap)}"
        )
    return {
        "load": asdict(load),
        "out_tok_s": plain.out_tok_s,
        "step_us": plain_window.step_us,
        "step_us_recorded": window.step_us,
        "busy": summary.busy,
        "window_us": summary.window_us,
        "categories_us": dict(summary.categories()),
        "gaps_over_20_us": len(long),
        "gaps_over_20_us_total": sum(gap.us for gap in long),
    }


def record_replays(title: str, graph: torch.cuda.CUDAGraph, most: int, replays: int = 12) -> dict:
    """Back-to-back replays of a captured step, the first two left out."""
    plain_ms = median_replay_ms(graph, replays, 3)
    recorder = Recorder()
    recorder.start()
    for _ in range(replays):
        graph.replay()
    torch.cuda.synchronize()
    device, _ = recorder.stop()
    device.sort(key=lambda span: span.start_ns)
    size = len(device) // replays
    kept = device[2 * size :]
    summary = summarise(kept, kept[0].start_ns, max(span.end_ns for span in kept))
    steps = replays - 2
    print_work(f"{title} (not recorded: {plain_ms * 1e3:.1f} us a step)", summary, steps, most)
    return {
        "title": title,
        "step_us": plain_ms * 1e3,
        "step_us_recorded": summary.window_us / steps,
        "categories_us": {name: us / steps for name, us in summary.categories()},
        "kernels": [
            {"name": w.name, "us": w.us / steps, "runs": w.count / steps, "alone_us": w.alone_us / steps}
            for w in summary.work[:most]
        ],
    }


def record_steps(fleet: Fleet, arguments: argparse.Namespace) -> list[dict]:
    """Decode steps of each number of rows, and mixed steps of 100 rows and each chunk."""
    found = []
    for rows in whole_numbers(arguments.decode):
        fleet.fill(rows, arguments.context)
        fleet.decode(4)
        title = f"{arguments.model} decode, {rows} rows at {arguments.context}"
        found.append(record_replays(title, fleet.last_graph(), arguments.most))
        fleet.clear()
    for chunk in whole_numbers(arguments.mixed):
        title = f"{arguments.model} mixed, 100 rows at {arguments.context} + {chunk}"
        graph = fleet.captured_mixed(100, arguments.context, chunk)
        found.append(record_replays(title, graph, arguments.most))
        fleet.clear()
    return found


def whole_numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=sorted(shapes.SHAPES), default="8b")
    parser.add_argument("--load", default="100:512:256:1024", help="N:PROMPT:OUTPUT[:BUDGET]; empty: none")
    parser.add_argument("--after", type=float, default=3.5, help="seconds of the load before the window")
    parser.add_argument("--window", type=float, default=1.5, help="seconds")
    parser.add_argument("--decode", default="1,8,32,100,256")
    parser.add_argument("--mixed", default="284,412")
    parser.add_argument("--context", type=int, default=640)
    parser.add_argument("--most", type=int, default=16, help="kernels to list of each step")
    parser.add_argument("--step-tokens", type=int, default=2048)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def start(arguments: argparse.Namespace, ranks: dict[str, Any]) -> tuple[Fleet, WatchedRunner, Shard]:
    """A shard with random weights, its runner watched. `ranks`: which rank it is, if there are several."""
    folder = shapes.make(arguments.model, Path(tempfile.mkdtemp()) / arguments.model)
    config = ShardConfig(
        model_path=folder,
        shard_uds_path="unused",
        dtype="bfloat16",
        load_format="dummy",
        max_step_tokens=arguments.step_tokens,
        max_sequences=512,
        kv_cache_tokens=262144,
        max_total_tokens=8192,
        **ranks,
    )
    shard = assemble(config, lambda phase, message: None)
    while shard.runner.work_ahead():
        pass
    watched = WatchedRunner(shard.runner)
    watched_shard: Shard = replace(shard, runner=watched)
    return Fleet(watched_shard), watched, shard


def main() -> None:
    # Graphs keep their records only if the profiler is never taken down between recordings.
    os.environ.setdefault("TEARDOWN_CUPTI", "0")
    os.environ.setdefault("DISABLE_CUPTI_LAZY_REINIT", "1")
    arguments = parse_arguments()
    ranks = rank_settings()
    Recorder.prime()
    fleet, watched, shard = start(arguments, ranks)
    steps = record_steps(fleet, arguments)
    load = None
    if arguments.load:
        load = record_load(fleet, watched, Load.parse(arguments.load), arguments.after, arguments.window)
    shard.close()
    if arguments.out and not ranks.get("rank"):
        record = {"machine": torch.cuda.get_device_name(), "torch": torch.__version__}
        arguments.out.write_text(json.dumps({**record, "steps": steps, "load": load}, indent=1))


if __name__ == "__main__":
    main()
