//! When the next step is planned.
//!
//! A step is planned while another one runs, so that the device never waits. Planned as soon as the last outcome is
//! there, it misses the requests that this outcome brings: whoever got its last token asks for the next thing a
//! millisecond later, and waits for a whole step more. So planning waits for a part of the time that a step takes
//! at least. What is left of the running step is enough to plan the next one and to prepare it.

use std::collections::VecDeque;

use crate::ids::Micros;

/// Of how many steps the shortest counts.
const RECENT: usize = 32;
/// The part of it that planning waits, one in so many.
const PART: u64 = 3;
/// Steps that are shorter leave too little, in microseconds: timers go by the millisecond, and a shard prepares a step
/// for up to half of one.
const LEAST: u64 = 4_000;

/// See the module. Its caller waits; plans are right whenever they are made.
#[derive(Debug, Default)]
pub struct PlanningTime {
    /// When the last outcome came, if the device had a step to go on with.
    busy_since: Option<Micros>,
    /// How many microseconds the last steps took, each behind another one.
    recent: VecDeque<u64>,
    until: Option<Micros>,
}

impl PlanningTime {
    /// An outcome came. `running`: whether the device goes on with a step.
    pub fn outcome(&mut self, now: Micros, running: bool) {
        if let Some(began) = self.busy_since {
            if self.recent.len() == RECENT {
                self.recent.pop_front();
            }
            self.recent.push_back(now.since(began).0);
        }
        self.busy_since = running.then_some(now);
        let shortest = self.recent.iter().min().filter(|_| self.recent.len() == RECENT);
        self.until = match shortest {
            Some(took) if running && *took >= LEAST => Some(Micros(now.0 + took / PART)),
            _ => None,
        };
    }

    /// Until when planning waits; `None`: it need not.
    #[must_use]
    pub fn waits(&self, now: Micros) -> Option<Micros> {
        self.until.filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Steps {
        time: PlanningTime,
        now: u64,
    }

    impl Steps {
        /// Behind one another, each of so many milliseconds.
        fn of(count: usize, millis: u64) -> Self {
            let mut steps = Self::default();
            for _ in 0..=count {
                steps.next(millis, true);
            }
            steps
        }

        fn next(&mut self, millis: u64, running: bool) {
            self.now += millis * 1_000;
            self.time.outcome(Micros(self.now), running);
        }

        /// Milliseconds.
        fn waits(&self) -> Option<u64> {
            let until = self.time.waits(Micros(self.now))?;
            Some((until.0 - self.now) / 1_000)
        }
    }

    #[test]
    fn planning_waits_for_a_third_of_a_step() {
        let steps = Steps::of(RECENT, 30);
        assert_eq!(steps.waits(), Some(10));
        assert_eq!(steps.time.waits(Micros(steps.now + 10_000)), None);
    }

    #[test]
    fn the_shortest_of_the_last_steps_counts() {
        let mut steps = Steps::of(RECENT, 30);
        steps.next(12, true);
        assert_eq!(steps.waits(), Some(4));
        for _ in 1..RECENT {
            steps.next(30, true);
        }
        assert_eq!(steps.waits(), Some(4));
        steps.next(30, true);
        assert_eq!(steps.waits(), Some(10));
    }

    #[test]
    fn nothing_waits_while_the_device_has_nothing_to_run() {
        let mut steps = Steps::of(RECENT, 30);
        steps.next(30, false);
        assert_eq!(steps.waits(), None);
        // The time until something ran again is no step's.
        steps.next(1, true);
        assert_eq!(steps.waits(), Some(10));
    }

    #[test]
    fn nothing_waits_before_enough_steps_are_known_or_behind_short_ones() {
        assert_eq!(Steps::of(RECENT - 1, 30).waits(), None);
        assert_eq!(Steps::of(RECENT, 3).waits(), None);
        assert_eq!(Steps::of(RECENT, 4).waits(), Some(1));
    }
}
