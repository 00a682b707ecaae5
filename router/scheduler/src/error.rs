//! What can be wrong with an outcome or with the scheduler itself.

use crate::ids::{SequenceId, StepId};

/// The shard answered something that no plan asked for. Nothing of the outcome was applied; the
/// session cannot go on, the group is to be reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// An outcome although no plan is in flight.
    #[error("outcome of step {given}, but no step is in flight")]
    NothingInFlight {
        /// The outcome's step.
        given: StepId,
    },
    /// Outcomes come in the order of the plans.
    #[error("outcome of step {given}, but step {expected} is next")]
    WrongStep {
        /// The oldest plan in flight.
        expected: StepId,
        /// The outcome's step.
        given: StepId,
    },
    /// A row that sampled has no entry.
    #[error("step {step}: no outcome for sequence {sequence}, which was to sample")]
    Missing {
        /// Which step.
        step: StepId,
        /// Whose row.
        sequence: SequenceId,
    },
    /// An entry that belongs to no row of the step, comes twice or out of order, or has tokens
    /// although its row did not sample.
    #[error("step {step}: outcome for sequence {sequence}, which was not to sample at this place")]
    Unexpected {
        /// Which step.
        step: StepId,
        /// The entry's sequence.
        sequence: SequenceId,
    },
    /// A row without drafts yields one token, a failed one none.
    #[error("step {step}: {given} tokens for sequence {sequence}, expected {expected}")]
    TokenCount {
        /// Which step.
        step: StepId,
        /// The entry's sequence.
        sequence: SequenceId,
        /// One, or zero for a failed row.
        expected: u32,
        /// How many came.
        given: u32,
    },
}

/// A broken invariant: a defect of the scheduler, never of its caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("scheduler invariant broken: {0}")]
pub struct InvariantViolation(pub String);
