"""`shardline-server`: serve a model, or download one."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence

from shardline.config import ConfigError, add_serve_arguments, shard_config
from shardline.version import versions


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="shardline-server", description=__doc__)
    parser.add_argument("--version", action="version", version=f"shardline-server {versions()}")
    commands = parser.add_subparsers(dest="command", required=True)
    add_serve_arguments(commands.add_parser("serve", help="serve one rank of a model on a Unix socket"))
    commands.add_parser("download", help="download a model of the Hub", add_help=False)
    parsed, rest = parser.parse_known_args(arguments)
    if parsed.command == "download":
        from shardline.hub.cli import main as download

        return download(rest)
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return _serve(parsed)


def _serve(parsed: argparse.Namespace) -> int:
    # Of the half a million objects that imports and the start make nothing is garbage: looking for it
    # costs some tenths of a second. `serve` turns the collector on again.
    gc.disable()
    # torch takes seconds to import; the other commands and --help need not wait for it.
    from shardline.serve import serve

    try:
        return serve(shard_config(parsed))
    except (ConfigError, OSError) as error:
        print(f"shardline-server: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
