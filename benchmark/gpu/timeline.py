"""What the GPU did in a window: spans of kernels and copies, how busy they kept it, and its gaps.

A kernel that was launched ahead of its predecessor's end (programmatic dependent launch) waits while
it already counts as running. Time is therefore given to the span that started first: a span gets what
lies after the end of all earlier ones. The parts then add up to the busy time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

_CATEGORIES = (
    ("prefill attention", ("_prefill_attention", "flash", "fmha")),
    ("decode attention", ("_decode_attention",)),
    ("sampling", ("_statistics_kernel", "_histogram_kernel", "_collect_kernel", "_choose_kernel")),
    ("products", ("_few_rows", "_one_row", "nvjet", "gemm", "gemv", "cutlass", "cublas", "splitk", "matmul")),
    ("sums over ranks", ("_peer_words", "_peer_rows", "nccl")),
    ("copies", ("memcpy", "memset")),
)


@dataclass(frozen=True, slots=True)
class Span:
    """Something that ran from `start_ns` to `end_ns`, in nanoseconds of the wall clock."""

    name: str
    start_ns: int
    end_ns: int

    @property
    def category(self) -> str:
        """What kind of work a kernel of this name does; all that is left is elementwise."""
        name = self.name.lower()
        return next((kind for kind, parts in _CATEGORIES if any(p in name for p in parts)), "elementwise")


@dataclass(frozen=True, slots=True)
class Gap:
    """The GPU had nothing to do. `after`, `before`: the names of its neighbours."""

    start_ns: int
    end_ns: int
    after: str
    before: str

    @property
    def us(self) -> float:
        return (self.end_ns - self.start_ns) / 1e3


@dataclass(slots=True)
class Work:
    """Microseconds given to one name, and how often it ran. `alone_us`: the sum of its spans' lengths."""

    name: str
    category: str
    us: float = 0.0
    alone_us: float = 0.0
    count: int = 0


@dataclass(frozen=True, slots=True)
class Summary:
    """A window. `busy`: the share of it in which anything ran; `work`: by time, `gaps`: by length."""

    window_us: float
    busy: float
    work: list[Work]
    gaps: list[Gap]

    def categories(self) -> list[tuple[str, float]]:
        """Microseconds of each category, the largest first."""
        sums: dict[str, float] = defaultdict(float)
        for work in self.work:
            sums[work.category] += work.us
        return sorted(sums.items(), key=lambda item: -item[1])


def summarise(spans: Iterable[Span], start_ns: int, end_ns: int) -> Summary:
    """Spans that reach out of the window are cut."""
    work: dict[str, Work] = {}
    gaps: list[Gap] = []
    reached, last = start_ns, "the window's start"
    for span in sorted(spans, key=lambda s: (s.start_ns, s.end_ns)):
        start, end = max(span.start_ns, start_ns), min(span.end_ns, end_ns)
        if end <= start:
            continue
        if start > reached:
            gaps.append(Gap(reached, start, last, span.name))
        entry = work.setdefault(span.name, Work(span.name, span.category))
        entry.us += max(0, end - max(start, reached)) / 1e3
        entry.alone_us += (end - start) / 1e3
        entry.count += 1
        if end > reached:
            reached, last = end, span.name
    if end_ns > reached:
        gaps.append(Gap(reached, end_ns, last, "the window's end"))
    window_us = (end_ns - start_ns) / 1e3
    idle_us = sum(gap.us for gap in gaps)
    return Summary(
        window_us,
        1 - idle_us / window_us,
        sorted(work.values(), key=lambda w: -w.us),
        sorted(gaps, key=lambda g: -g.us),
    )


def overlap_names(spans: Sequence[Span], gap: Gap, most: int = 3) -> str:
    """What of `spans` went on in a gap, the longest first."""
    shares: dict[str, float] = defaultdict(float)
    for span in spans:
        shared = min(span.end_ns, gap.end_ns) - max(span.start_ns, gap.start_ns)
        if shared > 0:
            shares[span.name] += shared / 1e3
    longest = sorted(shares.items(), key=lambda item: -item[1])[:most]
    return ", ".join(f"{name} {us:.0f} us" for name, us in longest) or "nothing of ours"


class Recorder:
    """Records what runs on the GPU, and the host's calls to it, between `start` and `stop`."""

    def __init__(self) -> None:
        self._profile: profile | None = None

    def start(self) -> None:
        self._profile = profile(activities=[ProfilerActivity.CUDA])
        self._profile.start()

    def stop(self) -> tuple[list[Span], list[Span]]:
        """Spans of the device and of the host's calls."""
        assert self._profile is not None
        self._profile.stop()
        results = self._profile.profiler.kineto_results
        device: list[Span] = []
        host: list[Span] = []
        for event in results.events():
            span = Span(event.name(), event.start_ns(), event.start_ns() + event.duration_ns())
            if event.device_type() == DeviceType.CUDA:
                device.append(span)
            elif span.name.startswith("cu"):
                host.append(span)
        self._profile = None
        return device, host

    @staticmethod
    def prime() -> None:
        """The first recording sets up the profiler, which takes seconds; and graphs captured before it
        would not show their kernels."""
        recorder = Recorder()
        recorder.start()
        torch.zeros(1, device="cuda")
        torch.cuda.synchronize()
        recorder.stop()
