"""`shardline-server serve`: binds the socket, loads, and runs steps until it is told to end."""

from __future__ import annotations

import gc
import logging
import signal
from collections.abc import Callable
from types import FrameType

from shardline.assembly import assemble
from shardline.config import ShardConfig
from shardline.control import exit_with_parent
from shardline.endpoint.frame import Phase
from shardline.endpoint.native import NativeEndpoint
from shardline.logs import start_logging
from shardline.runner.loop import run_steps


def serve(config: ShardConfig) -> int:
    """The exit code: 0 after SIGTERM or SIGINT, 1 with the cause when it cannot go on."""
    start_logging(config.log_level, config.json_output)
    log = logging.getLogger("shardline.serve")
    if config.control_fd is not None:
        exit_with_parent(config.control_fd)
    # While it loads, a signal ends the process at once: waiting for other ranks could last minutes.
    _on_termination(signal.SIG_DFL)
    endpoint = NativeEndpoint(config.socket_path)

    def report(phase: Phase, message: str) -> None:
        log.info("%s", message)
        endpoint.set_phase(phase, message)

    def stop(_number: int, _frame: FrameType | None) -> None:
        endpoint.close()

    try:
        shard = assemble(config, report)
        # What is there now stays: later collections, which stop every step, need not look at it.
        gc.freeze()
        gc.enable()
        _on_termination(stop)
        endpoint.set_info(shard.info)
        if shard.grammars is not None:
            endpoint.set_grammars(shard.grammars.native)
        endpoint.set_phase(Phase.READY)
        log.info(
            "rank %d serves %s on %s: %s, %d KV blocks of %d tokens; its start: %s",
            config.rank,
            config.model_path.name,
            shard.info.device,
            shard.info.dtype,
            shard.info.num_blocks,
            shard.info.block_size,
            ", ".join(f"{name} {seconds:.2f} s" for name, seconds in shard.info.start_phases),
        )
        run_steps(shard.runner, endpoint, threaded=shard.device.type == "cuda")
    except Exception as error:
        endpoint.set_phase(Phase.FAILED, str(error))
        endpoint.fail(f"shard {config.rank} failed: {error}")
        expected = isinstance(error, ValueError)
        log.error("shard %d: %s", config.rank, error, exc_info=None if expected else error)
        endpoint.close()
        return 1
    shard.close()
    return 0


def _on_termination(action: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, action)
