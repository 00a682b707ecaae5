//! When lost shards are started again: pure, time is an argument.
//!
//! ## Transitions
//! - starting → serving: the shards are ready
//! - serving → starting: they were lost, and may be started again
//! - starting → given up: they were lost before they were ready; they would be lost again
//! - serving → given up: they were lost too often within a short time

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

/// As many losses as this within `WINDOW` are no accident any more.
const MOST_LOSSES: usize = 5;
/// Losses that are longer ago are forgotten.
const WINDOW: Duration = Duration::from_secs(300);
/// The pause before the second start in a row; each one after it is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// What to do about a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Start new shards after this pause.
    Restart(Duration),
    /// End the server.
    GiveUp(Reason),
}

/// Why no more shards are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// They never served.
    FirstStart,
    /// They had served, and were lost again before they did.
    NotReadyAgain,
    /// Too many losses.
    TooOften,
}

impl fmt::Display for Reason {
    /// The end of a sentence about the loss.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstStart => Ok(()),
            Self::NotReadyAgain => out.write_str(" before the restarted shards were ready"),
            Self::TooOften => write!(out, ", the {MOST_LOSSES}th loss within {} s", WINDOW.as_secs()),
        }
    }
}

/// The losses so far.
#[derive(Debug, Default)]
pub struct Restarts {
    serving: bool,
    has_served: bool,
    losses: VecDeque<Instant>,
}

impl Restarts {
    /// The shards are ready.
    pub fn on_ready(&mut self) {
        self.serving = true;
        self.has_served = true;
    }

    /// The shards are lost.
    pub fn on_loss(&mut self, now: Instant) -> Verdict {
        if !std::mem::replace(&mut self.serving, false) {
            return Verdict::GiveUp(match self.has_served {
                true => Reason::NotReadyAgain,
                false => Reason::FirstStart,
            });
        }
        self.losses.push_back(now);
        self.losses
            .retain(|loss| now.saturating_duration_since(*loss) < WINDOW);
        match self.losses.len() {
            0 | 1 => Verdict::Restart(Duration::ZERO),
            MOST_LOSSES.. => Verdict::GiveUp(Reason::TooOften),
            // At most a few: the shift cannot overflow.
            several => Verdict::Restart(FIRST_PAUSE * (1 << (several - 2))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of losses at these seconds, each of shards that had been ready.
    fn verdicts(seconds: &[u64]) -> Vec<Verdict> {
        let (mut restarts, begun) = (Restarts::default(), Instant::now());
        let mut lose = |second: &u64| {
            restarts.on_ready();
            restarts.on_loss(begun + Duration::from_secs(*second))
        };
        seconds.iter().map(&mut lose).collect()
    }

    fn after(seconds: u64) -> Verdict {
        Verdict::Restart(Duration::from_secs(seconds))
    }

    #[test]
    fn pauses_grow_up_to_the_last_loss() {
        let end = Verdict::GiveUp(Reason::TooOften);
        assert_eq!(
            verdicts(&[0, 10, 20, 30, 40]),
            [after(0), after(1), after(2), after(4), end]
        );
    }

    #[test]
    fn losses_of_long_ago_are_forgotten() {
        assert_eq!(
            verdicts(&[0, 10, 20, 30, 305, 900]),
            [after(0), after(1), after(2), after(4), after(4), after(0)]
        );
    }

    #[test]
    fn shards_that_are_lost_before_they_are_ready_are_not_tried_again() {
        let mut restarts = Restarts::default();
        let now = Instant::now();
        assert_eq!(restarts.on_loss(now), Verdict::GiveUp(Reason::FirstStart));
        restarts.on_ready();
        assert_eq!(restarts.on_loss(now), after(0));
        assert_eq!(restarts.on_loss(now), Verdict::GiveUp(Reason::NotReadyAgain));
    }

    #[test]
    fn a_reason_ends_a_sentence() {
        let said = |reason| format!("shard-0 was killed by SIGKILL{reason}");
        assert_eq!(
            said(Reason::TooOften),
            "shard-0 was killed by SIGKILL, the 5th loss within 300 s"
        );
        assert_eq!(
            said(Reason::NotReadyAgain),
            "shard-0 was killed by SIGKILL before the restarted shards were ready"
        );
    }
}
