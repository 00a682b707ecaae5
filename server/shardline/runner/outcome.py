"""From sampled rows to the arrays of a step's outcome."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from shardline.endpoint.frame import I32, U64, FrameFields, Outcome, PromptLogprobs, RowStatus, StepTimings
from shardline.runner.fetch import Fetch, as_f32, as_i32
from shardline.sampling.sampler import Sampled


@dataclass(frozen=True, slots=True)
class PendingSamples:
    """Sampled rows on their way to the host; one entry a row.

    `failed`: which rows' grammars failed. `wants`: which rows asked for log-probabilities, `tops`: for how many most likely tokens.
    """

    sequence_ids: U64
    failed: npt.NDArray[np.bool_]
    wants: npt.NDArray[np.bool_]
    tops: I32
    tokens: Tensor
    valid: Tensor
    logprobs: Tensor | None
    top_ids: Tensor | None
    top_logprobs: Tensor | None

    @classmethod
    def start(
        cls,
        sequence_ids: U64,
        sampled: Sampled,
        failed: npt.NDArray[np.bool_],
        wants: npt.NDArray[np.bool_],
        tops: I32,
        fetch: Fetch,
    ) -> PendingSamples:
        """Starts the copies."""
        return cls(
            sequence_ids=sequence_ids,
            failed=failed,
            wants=wants,
            tops=tops,
            tokens=fetch.start(sampled.tokens),
            valid=fetch.start(sampled.valid),
            logprobs=None if sampled.logprobs is None else fetch.start(sampled.logprobs),
            top_ids=None if sampled.top_ids is None else fetch.start(sampled.top_ids),
            top_logprobs=None if sampled.top_logprobs is None else fetch.start(sampled.top_logprobs),
        )


def make_outcome(
    frame: FrameFields,
    samples: PendingSamples | None,
    prompts: list[PromptLogprobs],
    timings: StepTimings,
) -> Outcome:
    """The outcome of a step whose copies have arrived; without samples an acknowledgement."""
    unsupported = tuple(
        (command.command_id, f"{command.kind} is not supported by this shard") for command in frame.commands
    )
    if samples is None:
        return Outcome(
            frame.step_id, timings=timings, prompt_logprobs=tuple(prompts), command_results=unsupported
        )
    finite = samples.valid.numpy()
    valid = finite & ~samples.failed
    status = np.where(finite, RowStatus.OK, RowStatus.INVALID_LOGITS)
    status[samples.failed] = RowStatus.GRAMMAR_ERROR
    logprobs, top_counts, top_ids, top_logprobs = _logprobs(samples, valid)
    return Outcome(
        step_id=frame.step_id,
        sequence_ids=samples.sequence_ids,
        status=status.astype(np.uint8),
        token_counts=valid.astype(np.int32),
        token_ids=as_i32(samples.tokens)[valid],
        logprobs=logprobs,
        top_counts=top_counts,
        top_token_ids=top_ids,
        top_logprobs=top_logprobs,
        timings=timings,
        prompt_logprobs=tuple(prompts),
        command_results=unsupported,
    )


def _logprobs(
    samples: PendingSamples, valid: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float32], I32, I32, npt.NDArray[np.float32]]:
    """Log-probabilities, counts, ids and log-probabilities of the most likely; of valid rows."""
    no_ids, no_values = np.empty(0, np.int32), np.empty(0, np.float32)
    if samples.logprobs is None:
        return no_values, no_ids, no_ids, no_values
    logprobs = np.where(samples.wants, as_f32(samples.logprobs), np.nan).astype(np.float32)[valid]
    if samples.top_ids is None or samples.top_logprobs is None:
        return logprobs, no_ids, no_ids, no_values
    width = samples.top_ids.shape[1]
    counts = np.minimum(samples.tops, width)[valid].astype(np.int32)
    kept = np.arange(width) < counts[:, None]
    ids, values = as_i32(samples.top_ids)[valid], as_f32(samples.top_logprobs)[valid]
    return logprobs, counts, ids[kept], values[kept]
