//! How long a shard group that is not there is awaited.
//!
//! ## Transitions
//! - first start → stays: however long a model takes to load, its launcher ends it when it fails
//! - grace → replacement: the time is up, and a launcher can start new shards
//! - grace → over: the time is up, and there is no launcher
//! - any → replaced: the launcher has ended what was left and starts new shards; it says so when it gives up

use std::time::Instant;

use crate::shard::GroupError;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// The shards start for the first time.
    FirstStart,
    /// They may come back by themselves until then.
    Grace(Instant),
    /// They live and are of no use: nothing is asked of them until they are replaced.
    Replacement,
    /// New ones start.
    Replaced,
}

impl Patience {
    /// When to think again.
    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Grace(deadline) => Some(deadline),
            Self::FirstStart | Self::Replacement | Self::Replaced => None,
        }
    }

    /// Whether shards that are there are those that are awaited.
    pub(super) fn may_connect(self) -> bool {
        self != Self::Replacement
    }

    /// What comes after the deadline; `None`: nothing.
    pub(super) fn after(self, supervised: bool) -> Option<Self> {
        match self {
            Self::Grace(_) if !supervised => None,
            Self::Grace(_) => Some(Self::Replacement),
            other => Some(other),
        }
    }

    /// Whether to try again after this.
    pub(super) fn bears(self, error: &GroupError, supervised: bool) -> bool {
        // A rank that fails because another one died is ended and replaced with the rest.
        let left_over = matches!(error, GroupError::FailedStart { .. }) && self != Self::FirstStart;
        error.may_pass() || (supervised && left_over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_runs_out_only_where_nobody_can_help() {
        let grace = Patience::Grace(Instant::now());
        assert_eq!(grace.after(false), None);
        assert_eq!(grace.after(true), Some(Patience::Replacement));
        for patience in [Patience::FirstStart, Patience::Replacement, Patience::Replaced] {
            assert_eq!(
                (patience.deadline(), patience.after(false)),
                (None, Some(patience))
            );
        }
        assert!(!Patience::Replacement.may_connect());
    }

    #[test]
    fn what_a_dead_rank_drags_along_is_borne_while_a_launcher_watches() {
        let failed = GroupError::FailedStart {
            rank: 0,
            message: "the connection to rank 1 is closed".to_owned(),
        };
        assert!(Patience::Replaced.bears(&failed, true));
        assert!(!Patience::Replaced.bears(&failed, false));
        assert!(!Patience::FirstStart.bears(&failed, true));
        assert!(!Patience::Replaced.bears(&GroupError::Unusable("no".to_owned()), true));
    }
}
