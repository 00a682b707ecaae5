"""The seam of running a model over a step's inputs: eagerly here, from captured graphs elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from shardline.attention.base import AttentionBackend, AttentionContext
from shardline.models.registry import Model
from shardline.ops.base import Hidden
from shardline.runner.batch import StepPlan
from shardline.runner.inputs import Padding, StepInputs, resolve_tokens
from shardline.sampling.sampler import Sampled


class Forward(Protocol):
    """Runs a step. `padding` is asked before the inputs are made, `logits` after."""

    def padding(self, plan: StepPlan) -> Padding:
        """To which sizes the step is to be padded."""
        ...

    def logits(self, inputs: StepInputs) -> Tensor:
        """f32[samples, vocab_size] of the rows that sample; [0, vocab_size] when none does.

        Valid until the next call.
        """
        ...


class JoinedForward(Forward, Protocol):
    """A forward pass that can sample as well, when nothing of a step needs the host in between."""

    def sampled(self, inputs: StepInputs) -> Sampled | None:
        """Runs the step, samples and keeps each last token; none: the step has to be run apart.

        Valid until the next call.
        """
        ...

    def give_up(self) -> None:
        """Drops what is kept for later steps."""
        ...


class EagerForward:
    """Launches every operation of the step. `resolve`: from a step's inputs to its token ids."""

    def __init__(
        self,
        model: Model,
        backend: AttentionBackend,
        resolve: Callable[[StepInputs], Tensor] = resolve_tokens,
    ) -> None:
        self._model = model
        self._backend = backend
        self._resolve = resolve

    def padding(self, plan: StepPlan) -> Padding:
        """Any size will do."""
        return Padding()

    def hidden(self, inputs: StepInputs, needed: Tensor | None = None) -> Hidden:
        """The residual stream after the last layer, of every token or of those `needed`: integers[n]."""
        context = AttentionContext(self._backend, self._backend.prepare(inputs.rows))
        return self._model.forward(self._resolve(inputs), context, needed)

    def logits_at(self, hidden: Hidden, tokens: Tensor | None) -> Tensor:
        """f32[n, vocab_size] at `tokens`: integers[n], rows of `hidden`; none: at all."""
        return self._model.logits(hidden, None if tokens is None else tokens.long())

    def logits(self, inputs: StepInputs) -> Tensor:
        """See `Forward.logits`."""
        samples = inputs.sample_tokens
        if samples.shape[0] >= inputs.rows.positions.shape[0]:
            return self.logits_at(self.hidden(inputs), samples)
        # Of no rows there are no logits: products need one.
        return self.logits_at(self.hidden(inputs, samples), None if samples.shape[0] else samples)
