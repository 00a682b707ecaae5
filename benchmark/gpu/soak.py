"""A server under random load for minutes: does memory stay, do the gauges come back to zero, is every answer right.

    python benchmark/gpu/soak.py --model 8b --seconds 240
    python benchmark/gpu/soak.py --model demo --seconds 20 --clients 16      # on a CPU

Real launcher, router and shard. Each client asks again and again after a random pause: lengths, streams,
sampling parameters, stop strings, several choices, shared prefixes, bad requests and hang-ups are drawn at
random. The cache is made small enough that sequences are preempted. Several times all clients pause; then
nothing may wait or run, no block may be in use, and the scheduler looks for contradictions in its state
(the engine ends if it finds one). Memory of the card and of the processes is read at each pause.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))
import shapes
from asking import Answer, Ask, Asker, HangUp, Limits, ask_server
from watching import Reading, Served, read_server

PAUSES = 4
_QUIET_S = 2.0
_DRAIN_TIMEOUT_S = 60.0


@dataclass(slots=True)
class Tally:
    """What came back. `wrong`: answers that are not what was asked for, a sentence each."""

    kinds: Counter[str] = field(default_factory=Counter)
    tokens: int = 0
    wrong: list[str] = field(default_factory=list)

    def take(self, ask: Ask, answer: Answer | HangUp) -> None:
        if isinstance(answer, HangUp):
            self.kinds["hung up"] += 1
            return
        self.kinds[f"status {answer.status}"] += 1
        self.tokens += answer.completion_tokens
        if fault := ask.fault_of(answer):
            self.wrong.append(fault)


class Gate:
    """Clients pass while it is open; `closed` waits until none is on its way."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self._idle = asyncio.Event()
        self._under_way = 0
        self.most = 0

    async def enter(self) -> None:
        await self._open.wait()
        self._under_way += 1
        self.most = max(self.most, self._under_way)
        self._idle.clear()

    def leave(self) -> None:
        self._under_way -= 1
        if not self._under_way:
            self._idle.set()

    async def close(self) -> None:
        self._open.clear()
        if self._under_way:
            await asyncio.wait_for(self._idle.wait(), _DRAIN_TIMEOUT_S)

    def open(self) -> None:
        self._open.set()


async def client(number: int, port: int, limits: Limits, gate: Gate, tally: Tally) -> None:
    """Asks until it is cancelled."""
    asker = Asker(number, limits)
    while True:
        await asyncio.sleep(asker.pause_s())
        await gate.enter()
        try:
            ask = asker.next()
            tally.take(ask, await ask_server(port, ask))
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            tally.wrong.append(f"{type(error).__name__}: {error}")
        finally:
            gate.leave()


async def soak(served: Served, arguments: argparse.Namespace, limits: Limits) -> tuple[Tally, list[Reading]]:
    """The load with its pauses; readings: before it, at every pause."""
    tally, gate = Tally(), Gate()
    readings = [read_server(served, "ready")]
    print(readings[-1].line(), flush=True)
    clients = [
        asyncio.create_task(client(number, served.port, limits, gate, tally))
        for number in range(arguments.clients)
    ]
    for part in range(1, PAUSES + 1):
        before, began = Counter(tally.kinds), time.monotonic()
        await asyncio.sleep(arguments.seconds / PAUSES)
        took = time.monotonic() - began
        await gate.close()
        await asyncio.sleep(_QUIET_S)
        readings.append(await asyncio.to_thread(read_server, served, f"pause {part}"))
        new = tally.kinds - before
        counts = ", ".join(f"{name}: {count}" for name, count in sorted(new.items()))
        print(f"{readings[-1].line()}; in {took:.0f} s {counts}; up to {gate.most} at once", flush=True)
        gate.open()
    for task in clients:
        task.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    return tally, readings


def faults_of(
    tally: Tally, readings: list[Reading], served: Served, arguments: argparse.Namespace
) -> list[str]:
    """Everything that is not as it must be."""
    faults = [f"{reading.name}: {fault}" for reading in readings for fault in reading.faults()]
    # Graphs of rare step sizes are still captured in the first half.
    first, last = readings[PAUSES // 2], readings[-1]
    between = f"between {first.name} and {last.name}"
    grown = last.card_mib - first.card_mib
    if grown > arguments.card_mib:
        faults.append(f"the card's memory grew by {grown} MiB {between}")
    for name, before in first.resident_mib.items():
        after = last.resident_mib.get(name, 0)
        if after - before > arguments.process_mib:
            faults.append(f"{name} grew from {before} to {after} MiB {between}")
    faults += [f"wrong answer: {fault}" for fault in tally.wrong[:10]]
    if len(tally.wrong) > 10:
        faults.append(f"and {len(tally.wrong) - 10} more wrong answers")
    faults += [f"log: {line}" for line in served.bad_lines()[:10]]
    if not last.metrics["shardline_preemptions_total"] and arguments.expect_preemptions:
        faults.append("nothing was preempted: the cache is too large for this load")
    return faults


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=["demo", *sorted(shapes.SHAPES)], default="8b")
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--clients", type=int, default=256)
    parser.add_argument("--longest-prompt", type=int, default=700, help="tokens")
    parser.add_argument("--longest-answer", type=int, default=300, help="tokens")
    parser.add_argument("--cache-tokens", type=int, help="[280 a client: too few for all at once]")
    parser.add_argument("--expect-preemptions", action="store_true", help="none is a fault")
    parser.add_argument("--card-mib", type=int, default=64, help="growth that is no leak")
    parser.add_argument("--process-mib", type=int, default=96, help="growth that is no leak")
    parser.add_argument("--log", type=Path, default=Path(tempfile.gettempdir()) / "shardline-soak.log")
    parser.add_argument("--out", type=Path)
    parser.add_argument("server_arguments", nargs="*", help="further flags of the launcher, after --")
    return parser.parse_args()


def server_arguments(arguments: argparse.Namespace) -> list[str]:
    longest = arguments.longest_prompt + arguments.longest_answer + 64
    cache = max(arguments.cache_tokens or 280 * arguments.clients, 2 * longest)
    common = ["--max-concurrent-requests", "1024", "--max-batch-total-tokens", str(cache)]
    common += ["--max-total-tokens", str(longest), *arguments.server_arguments]
    if arguments.model == "demo":
        return ["--model-id", "demo", *common]
    folder = shapes.make(arguments.model, Path(tempfile.mkdtemp()) / arguments.model)
    return ["--model-id", str(folder), "--load-format", "dummy", "--dtype", "bfloat16", *common]


def main() -> int:
    arguments = parse_arguments()
    vocabulary = 49000 if arguments.model == "demo" else 127000
    limits = Limits(vocabulary, arguments.longest_prompt, arguments.longest_answer)
    served = Served(server_arguments(arguments), arguments.log)
    try:
        print(f"ready after {served.ready_s:.1f} s", flush=True)
        tally, readings = asyncio.run(soak(served, arguments, limits))
        faults = faults_of(tally, readings, served, arguments)
    finally:
        code = served.stop()
    if code:
        faults.append(f"the server ended with exit code {code}")
    answers = sum(tally.kinds.values())
    print(f"{answers} answers, {tally.tokens} tokens: {dict(sorted(tally.kinds.items()))}")
    print("\n".join(faults) if faults else "nothing leaked, nothing left over, every answer as asked")
    if arguments.out:
        record = {
            "kinds": tally.kinds,
            "tokens": tally.tokens,
            "faults": faults,
            "readings": [reading.record() for reading in readings],
        }
        arguments.out.write_text(json.dumps(record, indent=1))
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
