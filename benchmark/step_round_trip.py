"""The round trip of an empty step from a client through the endpoint to a Python runner and back.

    python benchmark/step_round_trip.py [ROWS ...]

The client is Rust (`server/native/endpoint/examples/step_round_trip.rs`); the runner turns the arrays
into numpy and answers with a token for each row, as a shard does.
"""

import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np

from shardline._native import Endpoint
from shardline.client import Phase

EXAMPLE = [
    "cargo",
    "run",
    "--release",
    "--quiet",
    "-p",
    "shardline-endpoint",
    "--example",
    "step_round_trip",
    "--",
]


def play_runner(endpoint: Endpoint) -> None:
    """Answers every step until the endpoint closes."""
    while (frame := endpoint.next()) is not None:
        tokens = np.frombuffer(frame.num_tokens, dtype="<i4") * 7
        endpoint.send(
            frame,
            sequence_ids=frame.sequence_ids,
            status=bytes(len(tokens)),
            token_counts=frame.num_tokens,
            token_ids=tokens.tobytes(),
        )


def main() -> None:
    rows = sys.argv[1:] or ["1", "256", "1024"]
    for count in rows:
        print("without Python:", subprocess.check_output([*EXAMPLE, "-", count], text=True).strip())
    with tempfile.TemporaryDirectory() as folder:
        endpoint = Endpoint(str(Path(folder) / "shard"))
        endpoint.set_info(
            model_type="none", dtype="none", device="none", rank=0, world_size=1, vocab_size=49_152,
            max_position=4096, attention_backend="none", block_size=16, num_blocks=4096, bytes_per_block=1,
            max_step_tokens=4096, max_sequences=4096, max_top_logprobs=0, version="0", step_token_edges=[],
            features=[], weight_bytes=0, load_s=0.0, warmup_s=0.0, start_phases=[],
        )  # fmt: skip
        endpoint.set_phase(Phase.READY)
        runner = threading.Thread(target=play_runner, args=(endpoint,))
        runner.start()
        for count in rows:
            command = [*EXAMPLE, str(Path(folder) / "shard"), count]
            print("Python runner: ", subprocess.check_output(command, text=True).strip())
        endpoint.close()
        runner.join()


if __name__ == "__main__":
    main()
