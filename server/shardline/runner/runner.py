"""The runner: one frame after another, each launched and then completed.

Only the order of a step belongs here. What is done in it has a file of its own: the batch, the
inputs, the forward pass, sampling, prompt scores, outcomes.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from shardline.dist.group import ParallelGroup
from shardline.endpoint.frame import FrameFields, NewSequenceFields, Outcome, StepTimings
from shardline.grammar.constraints import ConstrainedRows
from shardline.runner.batch import Batch, StepPlan
from shardline.runner.errors import ProtocolError
from shardline.runner.fetch import Fetch, as_i32
from shardline.runner.forward import EagerForward, Forward, JoinedForward
from shardline.runner.inputs import InputBuffers, StepInputs
from shardline.runner.masks import Masking, StepMasks
from shardline.runner.outcome import PendingSamples, make_outcome
from shardline.runner.prompt import PendingPrompt, PromptScorer
from shardline.sampling.choice import Choice
from shardline.sampling.parameters import Parameters
from shardline.sampling.sampler import Sampled, Sampler
from shardline.sampling.state import SamplingState


@dataclass(frozen=True, slots=True)
class PendingStep:
    """A launched step, whose results are on their way to the host."""

    frame: FrameFields
    plan: StepPlan
    samples: PendingSamples | None
    constrained: ConstrainedRows | None
    prompts: list[PendingPrompt]
    fetch: Fetch
    timings: StepTimings


class Ahead(Protocol):
    """Work that no step waits for and that later ones profit from; false: nothing is left."""

    def before_step(self) -> None:
        """Before each launch."""
        ...

    def work_ahead(self) -> bool:
        """While no step is under way and none has come."""
        ...

    def work_between(self) -> bool:
        """After each launch, while the device is busy."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What a runner is made of.

    `forward`: how steps run; `joined`: how those run that can be sampled in one go, if there is a
    way; `eager`: how those with prompt scores do. `choice`: how tokens are
    chosen then. `masking`: how grammars are followed. `ahead`: what to do while there is time.
    """

    batch: Batch
    inputs: InputBuffers
    forward: Forward
    joined: JoinedForward | None
    eager: EagerForward
    sampling: SamplingState
    choice: Choice
    masking: Masking
    group: ParallelGroup
    device: torch.device
    ahead: Ahead | None = None


class Runner:
    """Turns frames into outcomes. `launch` returns before a GPU has done the work."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._batch = parts.batch
        self._sampler = Sampler(parts.sampling, parts.choice, parts.masking.apply)
        self._prompts = PromptScorer(parts.batch, parts.eager, parts.device)

    @property
    def joined(self) -> JoinedForward | None:
        """How steps run that can be sampled in one go; for measuring."""
        return self._parts.joined

    @torch.inference_mode()
    def work_ahead(self) -> bool:
        """For idle moments: some milliseconds of work that steps profit from; false: none is left."""
        return self._parts.ahead is not None and self._parts.ahead.work_ahead()

    @torch.inference_mode()
    def work_between(self) -> bool:
        """The same for the moment after a launch."""
        return self._parts.ahead is not None and self._parts.ahead.work_between()

    @torch.inference_mode()
    def close(self) -> None:
        """Nothing is launched after it."""
        if self._parts.ahead is not None:
            # Another rank may be waiting for this one; or be gone already.
            with suppress(RuntimeError):
                self._parts.ahead.before_step()
        if self._parts.joined is not None:
            self._parts.joined.give_up()

    def reset(self) -> None:
        """Forgets all sequences."""
        self._batch.reset()
        if self._parts.masking.constraints is not None:
            self._parts.masking.constraints.reset()

    @torch.inference_mode()
    def launch(self, frame: FrameFields) -> PendingStep:
        """Starts a step. Raises `ProtocolError`, after which the session cannot go on."""
        began = perf_counter()
        if self._parts.ahead is not None:
            self._parts.ahead.before_step()
        plan = self._apply(frame)
        if not len(plan.slots):
            return PendingStep(
                frame, plan, None, None, [], self._sealed(), StepTimings(prepare_us=_us(began))
            )
        inputs = self._parts.inputs.load(plan, self._parts.forward.padding(plan))
        prepared = perf_counter()
        fetch = Fetch(self._parts.device)
        scored = self._prompts.rows(plan)
        masks = StepMasks(self._parts.masking, self._batch, plan)
        joined = None if scored else self._parts.joined
        sampled = None if joined is None else joined.sampled(inputs)
        if sampled is None:
            logits, prompts = self._run(plan, inputs, scored, fetch)
            ran = perf_counter()
            samples = self._sample(plan, inputs, logits, masks, fetch)
        else:
            prompts, ran = [], perf_counter()
            tells = inputs.num_samples and self._parts.group.is_first
            samples = self._pending(plan, sampled, masks, fetch) if tells else None
        fetch.seal()
        timings = StepTimings(
            prepare_us=_us(began, prepared), forward_us=_us(prepared, ran), sample_us=_us(ran)
        )
        return PendingStep(frame, plan, samples, masks.constrained, prompts, fetch, timings)

    def complete(self, pending: PendingStep) -> Outcome:
        """Waits for a step's results."""
        pending.fetch.wait()
        constraints = self._parts.masking.constraints
        if constraints is not None and pending.constrained is not None and pending.samples is not None:
            constraints.sampled(pending.constrained, as_i32(pending.samples.tokens))
        return make_outcome(
            pending.frame,
            pending.samples if self._parts.group.is_first else None,
            [prompt.finish() for prompt in pending.prompts] if self._parts.group.is_first else [],
            pending.timings,
        )

    def _sealed(self) -> Fetch:
        return Fetch(self._parts.device)

    def _apply(self, frame: FrameFields) -> StepPlan:
        """The order of effects: forget, take in, run."""
        if frame.new_session:
            self.reset()
        if frame.num_draft_tokens and np.frombuffer(frame.num_draft_tokens, np.int32).any():
            raise ProtocolError("drafted tokens are not supported by this shard")
        for slot in self._batch.drop(np.frombuffer(frame.drop, np.uint64)):
            self._parts.sampling.release(slot)
            if self._parts.masking.constraints is not None:
                self._parts.masking.constraints.release(slot)
        admitted = {self._admit(sequence): sequence for sequence in frame.new_sequences}
        return self._batch.plan(frame, admitted)

    def _admit(self, sequence: NewSequenceFields) -> int:
        # The first rank alone samples.
        if (
            sequence.grammar is not None
            and self._parts.masking.constraints is None
            and self._parts.group.is_first
        ):
            raise ProtocolError(f"sequence {sequence.sequence_id}: grammars are not supported by this shard")
        if sequence.adapter is not None:
            raise ProtocolError(
                f"sequence {sequence.sequence_id}: adapter {sequence.adapter!r} is not loaded"
            )
        fields = sequence.sampling
        if fields.prompt_logprobs and sequence.num_cached_tokens:
            raise ProtocolError(
                f"sequence {sequence.sequence_id} asks for prompt_logprobs and has cached tokens"
            )
        slot = self._batch.admit(sequence)
        tokens = np.frombuffer(sequence.token_ids, np.int32)
        self._parts.sampling.admit(slot, _parameters(sequence), tokens, sequence.num_prompt_tokens)
        if self._parts.masking.constraints is not None:
            self._parts.masking.constraints.admit(
                slot, sequence.grammar, tokens[sequence.num_prompt_tokens :]
            )
        else:
            # The first rank follows the grammar; how the step runs is the same on all ranks.
            self._parts.sampling.constrained[slot] = sequence.grammar is not None
        self._prompts.admit(slot, fields.prompt_logprobs, fields.prompt_top_logprobs)
        return slot

    def _run(
        self, plan: StepPlan, inputs: StepInputs, scored: list[int], fetch: Fetch
    ) -> tuple[Tensor, list[PendingPrompt]]:
        if not scored:
            return self._parts.forward.logits(inputs), []
        eager = self._parts.eager
        hidden = eager.hidden(inputs)
        prompts = self._prompts.score(plan, scored, hidden, fetch)
        return eager.logits_at(hidden, inputs.sample_tokens), prompts

    def _sample(
        self, plan: StepPlan, inputs: StepInputs, logits: Tensor, masks: StepMasks, fetch: Fetch
    ) -> PendingSamples | None:
        """Samples on the first rank and tells the others."""
        count = inputs.num_samples
        if not count:
            return None
        slots = inputs.sample_slots[:count]
        host_slots = plan.slots[plan.samples]
        pending = None
        if self._parts.group.is_first:
            positions = plan.known[plan.samples]
            sampled = self._sampler.sample(logits[:count], slots, host_slots, positions, masks.take())
            tokens = sampled.tokens.int()
            pending = self._pending(plan, sampled, masks, fetch)
        else:
            tokens = torch.empty(count, dtype=torch.int32, device=self._parts.device)
        self._parts.group.broadcast(tokens)
        self._batch.last_tokens.index_copy_(0, slots.long(), tokens)
        return pending

    def _pending(self, plan: StepPlan, sampled: Sampled, masks: StepMasks, fetch: Fetch) -> PendingSamples:
        """Sends what was sampled to the host."""
        state, slots = self._parts.sampling, plan.slots[plan.samples]
        return PendingSamples.start(
            plan.sequence_ids[plan.samples],
            sampled,
            masks.failed(len(slots)),
            state.wants_logprobs[slots],
            state.top_logprobs[slots],
            fetch,
        )


def _us(start: float, end: float | None = None) -> int:
    """Microseconds from `start` to `end`, or to now."""
    return int(((perf_counter() if end is None else end) - start) * 1e6)


def _parameters(sequence: NewSequenceFields) -> Parameters:
    fields = sequence.sampling
    return Parameters(
        temperature=fields.temperature,
        top_k=fields.top_k,
        top_p=fields.top_p,
        min_p=fields.min_p,
        typical_p=fields.typical_p,
        repetition_penalty=fields.repetition_penalty,
        frequency_penalty=fields.frequency_penalty,
        presence_penalty=fields.presence_penalty,
        logprobs=fields.logprobs,
        top_logprobs=fields.top_logprobs,
        min_tokens=fields.min_tokens,
        stop_token_ids=np.frombuffer(fields.stop_token_ids, np.int32),
        allowed_token_ids=np.frombuffer(fields.allowed_token_ids, np.int32),
        logit_bias_ids=np.frombuffer(fields.logit_bias_ids, np.int32),
        logit_bias_values=np.frombuffer(fields.logit_bias_values, np.float32),
        seed=sequence.seed,
        choice=sequence.choice,
    )
