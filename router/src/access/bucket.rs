//! A token bucket that fills evenly within a minute. Time is an argument.

use std::time::{Duration, Instant};

/// The time in which an empty bucket is full again.
const FILL_TIME: Duration = Duration::from_secs(60);

/// A bucket of `limit` units a minute, full at its beginning. What was spent beyond its content is a
/// debt that is paid before anything else is given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    limit: u64,
    /// Units; below 0: a debt.
    content: f64,
    filled_at: Instant,
}

/// A bucket as a client is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Units a minute.
    pub limit: u64,
    /// Whole units that are there now.
    pub remaining: u64,
    /// Until it is full.
    pub reset: Duration,
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "2^53 units a minute are more than any limit; remainders are not negative"
)]
impl Bucket {
    /// A full bucket.
    #[must_use]
    pub fn new(limit: u64, now: Instant) -> Self {
        Self {
            limit,
            content: limit as f64,
            filled_at: now,
        }
    }

    /// The same bucket under another limit: a debt stays, and no more is in it than it holds.
    #[must_use]
    pub fn with_limit(mut self, limit: u64, now: Instant) -> Self {
        self.fill(now);
        self.limit = limit;
        self.content = self.content.min(limit as f64);
        self
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled_at);
        let gained = passed.as_secs_f64() * self.rate();
        self.content = (self.content + gained).min(self.limit as f64);
        self.filled_at = self.filled_at.max(now);
    }

    /// Units a second.
    fn rate(&self) -> f64 {
        self.limit as f64 / FILL_TIME.as_secs_f64()
    }

    /// How long until `units` are there: zero when they are, `None` when they never are.
    #[must_use]
    pub fn wait(&mut self, units: u64, now: Instant) -> Option<Duration> {
        if units > self.limit {
            return None;
        }
        self.fill(now);
        let missing = units as f64 - self.content;
        Some(if missing <= 0.0 {
            Duration::ZERO
        } else {
            Duration::from_secs_f64(missing / self.rate())
        })
    }

    /// Takes units out, into debt if need be.
    pub fn take(&mut self, units: u64, now: Instant) {
        self.fill(now);
        self.content -= units as f64;
    }

    /// Puts units back that were taken and not used.
    pub fn give_back(&mut self, units: u64, now: Instant) {
        self.fill(now);
        self.content = (self.content + units as f64).min(self.limit as f64);
    }

    /// As a client is told of it.
    #[must_use]
    pub fn level(&mut self, now: Instant) -> Level {
        self.fill(now);
        Level {
            limit: self.limit,
            remaining: self.content.max(0.0) as u64,
            reset: Duration::from_secs_f64((self.limit as f64 - self.content).max(0.0) / self.rate()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn it_fills_evenly_and_not_over() {
        let start = Instant::now();
        let mut bucket = Bucket::new(60, start);
        assert_eq!(bucket.wait(60, start), Some(Duration::ZERO));
        bucket.take(60, start);
        assert_eq!(bucket.wait(1, start), Some(SECOND));
        assert_eq!(bucket.wait(30, start), Some(30 * SECOND));
        assert_eq!(
            bucket.level(start + 10 * SECOND),
            Level {
                limit: 60,
                remaining: 10,
                reset: 50 * SECOND
            }
        );
        assert_eq!(bucket.level(start + 1000 * SECOND).remaining, 60);
        assert_eq!(bucket.wait(61, start), None, "more than it ever holds");
    }

    #[test]
    fn a_debt_is_paid_first() {
        let start = Instant::now();
        let mut bucket = Bucket::new(60, start);
        bucket.take(90, start);
        assert_eq!(bucket.level(start).remaining, 0);
        assert_eq!(bucket.wait(1, start), Some(31 * SECOND));
        bucket.give_back(40, start);
        assert_eq!(bucket.level(start).remaining, 10);
    }

    #[test]
    fn another_limit_keeps_the_debt() {
        let start = Instant::now();
        let mut bucket = Bucket::new(60, start);
        bucket.take(100, start);
        let mut larger = bucket.with_limit(6000, start);
        assert_eq!(larger.wait(60, start), Some(SECOND));
        let mut smaller = Bucket::new(60, start).with_limit(6, start);
        assert_eq!(smaller.level(start).remaining, 6);
    }

    proptest! {
        /// Whoever waits as long as told gets what was asked for, and over any time no more is given
        /// than one bucket and what flowed in.
        #[test]
        fn waiting_helps_and_nothing_is_given_twice(
            limit in 1_u64..100_000,
            asks in prop::collection::vec((1_u64..200_000, 0_u64..5_000), 1..40),
        ) {
            let start = Instant::now();
            let mut now = start;
            let mut bucket = Bucket::new(limit, start);
            let mut given = 0_u64;
            for (units, pause_ms) in asks {
                now += Duration::from_millis(pause_ms);
                match bucket.wait(units, now) {
                    None => prop_assert!(units > limit),
                    Some(wait) => {
                        now += wait + Duration::from_micros(1);
                        prop_assert_eq!(bucket.wait(units, now), Some(Duration::ZERO));
                        bucket.take(units, now);
                        given += units;
                    }
                }
                let flowed = (now - start).as_secs_f64() * limit as f64 / 60.0;
                prop_assert!(given as f64 <= limit as f64 + flowed + 1.0, "{} of {} in {:?}", given, limit, now - start);
            }
        }
    }
}
