"""How far a download is, read from the disk: the same for every transport of `huggingface_hub`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from shardline.hub.select import Selection

INTERVAL_S = 0.5


@dataclass(frozen=True, slots=True)
class Progress:
    """Bytes and files that are here, and of how many."""

    done_bytes: int
    total_bytes: int
    files_done: int
    files: int

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


Report = Callable[[Progress], None]


def measure(selection: Selection, snapshot: Path, blobs: Path) -> Progress:
    """`snapshot` gets a file when it is whole; `blobs` holds the parts of those under way."""
    whole = [file for file in selection.files if (snapshot / file.name).is_file()]
    partial_bytes = 0
    with suppress(OSError):
        for path in blobs.glob("*.incomplete"):
            with suppress(OSError):
                partial_bytes += path.stat().st_size
    total_bytes = selection.total_bytes
    done_bytes = sum(file.size_bytes for file in whole) + partial_bytes
    return Progress(min(done_bytes, total_bytes), total_bytes, len(whole), len(selection.files))


@contextmanager
def watched(measured: Callable[[], Progress], report: Report) -> Generator[None]:
    """Reports at the beginning, while it changes, and at the end of the block."""
    over = threading.Event()
    last = measured()
    report(last)

    def watch() -> None:
        nonlocal last
        while not over.wait(INTERVAL_S):
            now = measured()
            if now != last:
                report(now)
                last = now

    watcher = threading.Thread(target=watch, name="progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
    now = measured()
    if now != last:
        report(now)
