//! Why a shard group cannot be used.

use std::time::Duration;

use shardline_proto::arrays::ArrayError;
use shardline_proto::parts::TooLarge;

/// What happened to the group. It names the rank, as the others are usually well.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// A rank is not there or went away.
    #[error("shard {rank} is gone: {cause}")]
    Lost {
        /// Which rank.
        rank: u32,
        /// What the transport said.
        cause: String,
    },
    /// A rank gave up at its start.
    #[error("shard {rank} failed to start: {message}")]
    FailedStart {
        /// Which rank.
        rank: u32,
        /// What it said.
        message: String,
    },
    /// A rank serves something else than rank 0, or than its place in the group.
    #[error(
        "shard {rank} has {field} {theirs} where the group has {ours}; start all shards with the same settings"
    )]
    Disagrees {
        /// Which rank.
        rank: u32,
        /// What they differ in.
        field: &'static str,
        /// The group's value.
        ours: String,
        /// The rank's value.
        theirs: String,
    },
    /// A rank refused a step as malformed.
    #[error("shard {rank} refused a step: {reason}")]
    Refused {
        /// Which rank.
        rank: u32,
        /// Its words.
        reason: String,
    },
    /// A rank answered another step than the next one.
    #[error("shard {rank} answered step {got} where step {expected} was due")]
    OutOfStep {
        /// Which rank.
        rank: u32,
        /// The step it answered.
        got: u64,
        /// The step that was due.
        expected: u64,
    },
    /// An answer that does not hold what it promises.
    #[error("shard {rank} sent a malformed answer: {error}")]
    Malformed {
        /// Which rank.
        rank: u32,
        /// What is wrong with it.
        error: ArrayError,
    },
    /// A step that fits no message.
    #[error("a step cannot be sent: {0}")]
    TooLarge(TooLarge),
    /// More steps wait to be sent than may be in flight.
    #[error("shard {rank} takes no more steps")]
    Stuck {
        /// Which rank.
        rank: u32,
    },
    /// No answer.
    #[error("step {step} was not answered within {} s", limit.as_secs_f32())]
    Silent {
        /// The oldest step that is out.
        step: u64,
        /// How long was waited.
        limit: Duration,
    },
    /// The shards offer something this router cannot use.
    #[error("the shards cannot be used: {0}")]
    Unusable(String),
}

impl GroupError {
    /// Whether waiting and connecting again can help.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        !matches!(
            self,
            Self::FailedStart { .. } | Self::Disagrees { .. } | Self::Unusable(_) | Self::TooLarge(_)
        )
    }
}
