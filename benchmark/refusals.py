"""How long bad inputs take to be refused: a router and a mock shard, all cases of the tests.

    python benchmark/refusals.py [--rounds 20] [--all]

Each time runs from the connection to the last byte of the answer, the sending included; beside it stands what
the router computed meanwhile, which other work on the machine does not change. The goal is 50 ms where no model
is needed. A flood is no single refusal: its time is that of all it sends.
"""

import argparse
import math
import platform
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
sys.path += [str(HERE), str(HERE.parent / "integration-tests")]

from router import Router

import test_bad_http as http
import test_bad_input as given
from hostile import Result, Stopwatch

GOAL_MS = 50
FLOODS = (
    "10,000 resets",
    "10 MB of CONTINUATION",
    "1,000 streams",
    "20,000 pings and settings",
    "body of 100 MB",
)


def parameters(test: Callable[..., None]) -> list:
    """What pytest would call a test with, one after another."""
    (mark,) = (mark for mark in test.pytestmark if mark.name == "parametrize")  # type: ignore[attr-defined]
    return list(mark.args[1])


class Meter(Stopwatch):
    """A stopwatch that notes what the router computed, too."""

    def __init__(self, router: Router) -> None:
        super().__init__(router)
        self._router = router
        self.computed: dict[str, list[float]] = {}

    def timed(self, name: str, send: Callable[[], Result]) -> Result:
        before = self._router.cpu_s()
        result = super().timed(name, send)
        self.computed.setdefault(name, []).append(self._router.cpu_s() - before)
        return result


def send_all(router: Router, watch: Stopwatch) -> None:
    """Every refusal once."""
    for case in given.CASES:
        given.test_chat_fields(watch, *case)
    for case in given.RAW:
        given.test_raw_bodies(watch, *case)
    for case in given.COMPLETIONS:
        given.test_completion_fields(watch, *case)
    given.test_the_longest_text_that_fits_a_body(router, watch)
    for headers in parameters(http.test_malformed_headers):
        http.test_malformed_headers(router, watch, headers)
    for sent in parameters(http.test_http2_frames_that_break_the_protocol):
        http.test_http2_frames_that_break_the_protocol(router, watch, sent)
    for test in (
        http.test_a_header_of_a_megabyte,
        http.test_ten_thousand_headers,
        http.test_a_path_of_a_megabyte,
        http.test_length_and_chunks_together_never_hide_a_second_request,
        http.test_a_body_over_the_limit_is_refused_before_it_is_sent,
        http.test_a_body_of_100_mb,
        http.test_a_compressed_body_is_not_unpacked,
        http.test_bytes_that_are_not_http,
        http.test_http2_requests_that_are_reset_at_once,
        http.test_http2_headers_without_end,
        http.test_http2_more_streams_than_allowed,
        http.test_http2_pings_and_settings_without_end,
    ):
        test(router, watch)


def row(name: str, times_s: list[float], computed_s: list[float]) -> str:
    times = sorted(time * 1e3 for time in times_s)
    percentile = times[math.ceil(0.99 * len(times)) - 1]
    taken = f"{statistics.median(times):.1f} | {percentile:.1f} | {times[-1]:.1f}"
    return f"| {name} | {taken} | {statistics.median(computed_s) * 1e3:.1f} |"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--all", action="store_true", help="print every case, not only the slowest")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="shardline-bench-"))
    router = Router(folder, open_to_all=True)
    watch = Meter(router)
    try:
        # What only the first request of a process pays for is no refusal's.
        send_all(router, Stopwatch(router))
        before_mb = router.resident_mb()
        for _ in range(args.rounds):
            send_all(router, watch)
        grown_mb = router.resident_mb() - before_mb
    finally:
        router.stop()
        shutil.rmtree(folder, ignore_errors=True)
    single = {name: times for name, times in watch.times.items() if name not in FLOODS}
    slowest = sorted(single, key=lambda name: -statistics.median(watch.computed[name]))
    every = [time for times in single.values() for time in times]
    over = sum(time * 1e3 > GOAL_MS for time in every)
    print(
        f"{len(single)} cases, {args.rounds} rounds, {platform.node()}; goal {GOAL_MS} ms: {over} of {len(every)} above"
    )
    print("| case | median, ms | P99, ms | worst, ms | computed, ms |\n|---|---|---|---|---|")
    print(row("all refusals", every, [one for name in single for one in watch.computed[name]]))
    for name in slowest if args.all else slowest[:10]:
        print(row(name, single[name], watch.computed[name]))
    for name in FLOODS:
        print(row(f"flood: {name}", watch.times[name], watch.computed[name]))
    print(f"the router grew by {grown_mb:.1f} MB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
