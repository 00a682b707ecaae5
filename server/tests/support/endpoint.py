"""A native endpoint with a runner that needs no model: each token is the sum of those before it."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

from shardline._native import Endpoint, Frame

READY = 4


def info(**changes: object) -> dict[str, object]:
    """What the endpoint tells, small enough to reach every limit."""
    return {
        "model_type": "sums",
        "dtype": "float32",
        "device": "cpu",
        "rank": 0,
        "world_size": 1,
        "vocab_size": 1000,
        "max_position": 64,
        "attention_backend": "none",
        "block_size": 4,
        "num_blocks": 24,
        "bytes_per_block": 1,
        "max_step_tokens": 8,
        "max_sequences": 3,
        "max_top_logprobs": 2,
        "version": "0",
        "step_token_edges": [],
        "features": [],
        "weight_bytes": 0,
        "load_s": 0.0,
        "warmup_s": 0.0,
        "start_phases": [("read", 0.5)],
        **changes,
    }


def next_token(tokens: list[int]) -> int:
    return sum(tokens) % 1000


class SumRunner:
    """Runs until the endpoint closes. Checks what the wire demands of a client."""

    def __init__(self, path: Path, **changes: object) -> None:
        self.endpoint = Endpoint(str(path))
        self.endpoint.set_info(**info(**changes))
        self.endpoint.set_phase(READY)
        self.steps = 0
        self.blocks_used: dict[int, list[int]] = {}
        self._tokens: dict[int, list[int]] = {}
        self._computed: dict[int, int] = {}
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self.endpoint.close()
        self._thread.join()

    def _run(self) -> None:
        while (frame := self.endpoint.next()) is not None:
            self.steps += 1
            try:
                ids, tokens = self._step(frame)
            except AssertionError as error:
                self.endpoint.fail(f"the client broke a rule: {error}")
                continue
            self.endpoint.send(
                frame,
                sequence_ids=np.array(ids, "<u8").tobytes(),
                status=bytes(len(ids)),
                token_counts=np.ones(len(ids), "<i4").tobytes(),
                token_ids=np.array(tokens, "<i4").tobytes(),
                logprobs=np.array(tokens, "<f4").tobytes(),
                top_counts=np.full(len(ids), 2, "<i4").tobytes(),
                top_token_ids=np.array([[t, 0] for t in tokens], "<i4").tobytes(),
                top_logprobs=np.array([[-0.5, -1.5] for _ in tokens], "<f4").tobytes(),
            )

    def _step(self, frame: Frame) -> tuple[list[int], list[int]]:
        if frame.new_session:
            self._tokens, self._computed, self.blocks_used = {}, {}, {}
        for sequence_id in np.frombuffer(frame.drop, "<u8").tolist():
            for state in (self._tokens, self._computed, self.blocks_used):
                del state[sequence_id]
        for sequence in frame.new_sequences:
            self._tokens[sequence.sequence_id] = np.frombuffer(sequence.token_ids, "<i4").tolist()
            self._computed[sequence.sequence_id] = 0
            self.blocks_used[sequence.sequence_id] = np.frombuffer(sequence.block_ids, "<i4").tolist()
        blocks = [block for used in self.blocks_used.values() for block in used]
        assert len(blocks) == len(set(blocks)), "two sequences share a block"
        ids, sampled = [], []
        rows = zip(
            np.frombuffer(frame.sequence_ids, "<u8").tolist(),
            np.frombuffer(frame.num_tokens, "<i4").tolist(),
            strict=True,
        )
        for sequence_id, count in rows:
            tokens = self._tokens[sequence_id]
            self._computed[sequence_id] += count
            assert self._computed[sequence_id] <= len(tokens), "tokens run that are not known"
            assert self._computed[sequence_id] <= 4 * len(self.blocks_used[sequence_id]), (
                "no block for a token"
            )
            if self._computed[sequence_id] == len(tokens):
                tokens.append(next_token(tokens))
                ids.append(sequence_id)
                sampled.append(tokens[-1])
        return ids, sampled
