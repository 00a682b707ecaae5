"""The native endpoint behind the runner's words: arrays become bytes here and nowhere else."""

from __future__ import annotations

from dataclasses import asdict
from typing import cast

from shardline import _native
from shardline.endpoint.frame import FrameFields, Outcome, Phase, PromptLogprobs, ShardInfo


class NativeEndpoint:
    """See `shardline._native.Endpoint`."""

    def __init__(self, socket_path: str) -> None:
        self._native = _native.Endpoint(socket_path)

    def set_phase(self, phase: Phase, message: str = "") -> None:
        """What Health answers."""
        self._native.set_phase(int(phase), message)

    def set_info(self, info: ShardInfo) -> None:
        """What Info answers."""
        self._native.set_info(**asdict(info))

    def set_grammars(self, grammars: _native.Grammars) -> None:
        """What CompileGrammar asks."""
        self._native.set_grammars(grammars)

    def next(self, timeout_s: float | None = None) -> FrameFields | None:
        """Waits for the next step; none when the endpoint is closed. `TimeoutError`: none came."""
        return self._native.next(timeout_s)

    def send(self, frame: FrameFields, outcome: Outcome) -> None:
        """Answers a step; dropped when its session is over."""
        self._native.send(
            cast(_native.Frame, frame),
            sequence_ids=outcome.sequence_ids.tobytes(),
            status=outcome.status.tobytes(),
            token_counts=outcome.token_counts.tobytes(),
            token_ids=outcome.token_ids.tobytes(),
            logprobs=outcome.logprobs.tobytes(),
            top_counts=outcome.top_counts.tobytes(),
            top_token_ids=outcome.top_token_ids.tobytes(),
            top_logprobs=outcome.top_logprobs.tobytes(),
            prompt_logprobs=[_prompt_logprobs(entry) for entry in outcome.prompt_logprobs],
            command_results=outcome.command_results,
            prepare_us=outcome.timings.prepare_us,
            forward_us=outcome.timings.forward_us,
            sample_us=outcome.timings.sample_us,
        )

    def fail(self, message: str) -> None:
        """Ends the living session with an error."""
        self._native.fail(message)

    def close(self) -> None:
        """Ends everything; `next` returns none."""
        self._native.close()


def _prompt_logprobs(entry: PromptLogprobs) -> _native.PromptLogprobs:
    return _native.PromptLogprobs(
        sequence_id=entry.sequence_id,
        first_position=entry.first_position,
        logprobs=entry.logprobs.tobytes(),
        top_counts=entry.top_counts.tobytes(),
        top_token_ids=entry.top_token_ids.tobytes(),
        top_logprobs=entry.top_logprobs.tobytes(),
    )
