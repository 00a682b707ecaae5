//! Measured speed, and what it says about the future.

use crate::ids::Micros;

/// Weight of what is already known when a step is added.
const MEMORY: f64 = 0.95;
/// Answer while nothing has been measured.
const UNKNOWN: Micros = Micros(1_000_000);
const LEAST: f64 = 1_000.0;
const MOST: f64 = 600_000_000.0;

/// Exponentially weighted sums over steps, and over admitted and finished sequences.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Estimate {
    steps: f64,
    tokens: f64,
    micros: f64,
    sequences: f64,
    prefilled: f64,
    generated: f64,
    asked_prefill: f64,
    asked_answer: f64,
    last_applied: Option<Micros>,
}

impl Estimate {
    /// A step of `tokens` tokens that was planned at `planned` came back at `now`. Steps overlap:
    /// it cannot have begun before the one before it came back.
    pub(crate) fn step_applied(&mut self, tokens: u32, planned: Micros, now: Micros) {
        let began = self.last_applied.map_or(planned, |last| last.max(planned));
        self.last_applied = Some(now);
        self.steps = self.steps * MEMORY + 1.0;
        self.tokens = self.tokens * MEMORY + f64::from(tokens);
        self.micros = self.micros * MEMORY + now.since(began).0 as f64;
    }

    /// The steps in flight will not come back; the speed stays the best guess.
    pub(crate) fn session_lost(&mut self) {
        self.last_applied = None;
    }

    /// A sequence brings `prefill` tokens and may generate `answer` at most.
    pub(crate) fn sequence_admitted(&mut self, prefill: u32, answer: u32) {
        self.asked_prefill = self.asked_prefill * MEMORY + f64::from(prefill);
        self.asked_answer = self.asked_answer * MEMORY + f64::from(answer);
    }

    /// A sequence ended by itself after `generated` tokens; `prefilled` were run before the first.
    pub(crate) fn sequence_finished(&mut self, prefilled: u32, generated: u32) {
        self.prefilled = self.prefilled * MEMORY + f64::from(prefilled);
        self.sequences = self.sequences * MEMORY + 1.0;
        self.generated = self.generated * MEMORY + f64::from(generated);
    }

    /// Tokens of prefill for each generated one, by sequences that ended; while none has, by what was asked
    /// for, which is no more than that. `None` while none was admitted.
    pub(crate) fn prefill_per_token(&self) -> Option<f64> {
        let known = |prefill: f64, answer: f64| (answer > 0.0).then(|| prefill / answer);
        known(self.prefilled, self.generated).or_else(|| known(self.asked_prefill, self.asked_answer))
    }

    /// How long `steps` steps take; `None` while nothing has been measured.
    pub(crate) fn time_of_steps(&self, steps: usize) -> Option<Micros> {
        (self.steps > 0.0).then(|| Micros((self.micros / self.steps * steps as f64) as u64))
    }

    /// How long it takes to work through `tokens` known tokens of `waiting` sequences and what these
    /// will generate, and until one of `running` sequences ends, judged by those that ended lately.
    pub(crate) fn time_of_work(&self, tokens: u64, waiting: u32, running: u32) -> Micros {
        if self.tokens <= 0.0 || self.micros <= 0.0 {
            return UNKNOWN;
        }
        let generated = if self.sequences > 0.0 {
            self.generated / self.sequences
        } else {
            0.0
        };
        let work = (tokens as f64 + generated * f64::from(waiting)) * self.micros / self.tokens;
        // Running sequences get a token a step and are spread over their lengths.
        let steps = if running > 0 {
            generated / f64::from(running)
        } else {
            0.0
        };
        let end = steps * self.micros / self.steps;
        Micros((work + end).clamp(LEAST, MOST) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_measured_is_a_second() {
        let estimate = Estimate::default();
        assert_eq!(estimate.time_of_work(1_000, 10, 0), Micros(1_000_000));
        assert_eq!(estimate.time_of_steps(2), None);
    }

    #[test]
    fn waiting_work_is_divided_by_the_speed() {
        let mut estimate = Estimate::default();
        // 100 tokens in 1 ms, again and again; overlap does not count a millisecond twice.
        for step in 0..50 {
            estimate.step_applied(100, Micros(step * 1_000), Micros((step + 1) * 1_000));
            estimate.step_applied(0, Micros(step * 1_000), Micros((step + 1) * 1_000));
        }
        assert_eq!(estimate.time_of_work(200_000, 0, 0), Micros(2_000_000));
        estimate.sequence_finished(10, 1_000);
        assert_eq!(estimate.time_of_work(0, 200, 0), Micros(2_000_000));
    }

    #[test]
    fn the_share_of_prefill_follows_what_ended_lately() {
        let mut estimate = Estimate::default();
        assert_eq!(estimate.prefill_per_token(), None);
        estimate.sequence_admitted(512, 1_024);
        assert_eq!(estimate.prefill_per_token(), Some(0.5));
        for _ in 0..400 {
            estimate.sequence_finished(512, 256);
        }
        assert_eq!(estimate.prefill_per_token(), Some(2.0));
        for _ in 0..400 {
            estimate.sequence_finished(100, 400);
        }
        let ratio = estimate.prefill_per_token();
        assert!(
            ratio.is_some_and(|ratio| (ratio - 0.25).abs() < 1e-6),
            "{ratio:?}"
        );
    }

    #[test]
    fn a_full_batch_has_room_when_one_of_it_ends() {
        let mut estimate = Estimate::default();
        estimate.step_applied(10, Micros(0), Micros(1_000));
        estimate.sequence_finished(10, 500);
        // One of ten ends every 50 steps of a millisecond.
        assert_eq!(estimate.time_of_work(0, 0, 10), Micros(50_000));
    }
}
