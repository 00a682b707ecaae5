//! How much prefill goes beside decode rows.
//!
//! Sequences that bring P tokens of prefill and generate G each: of d that decode, d / G end with every
//! step, and d × P / G tokens must be prefilled for those that take their places. Steps with less let the
//! batch run empty. In steps with much more each prompt token costs more, since reading the weights is paid
//! already and computing is not, and those that decode wait longer for each token. But sequences that began
//! together end together: what waits then is worked off in a few steps.

use crate::plan::Config;

/// Prefill a step takes over what balance needs, for sequences that decode and for those that will: these have
/// to be there before the others end.
const SPARE: f64 = 1.25;
const SPARE_TO_FILL: f64 = 1.75;
/// Of what waits for prefill, the part that a step takes at least.
const PART_OF_BACKLOG: f64 = 0.25;
/// The least of a full step that this part may come to, and the most that it may come to with the decode rows.
/// Beyond, clients wait too long for a token; below, a prompt that meets many rows and the last few tokens of
/// any would take many steps.
const LEAST_OF_FULL: f64 = 0.125;
const MOST_OF_FULL: f64 = 0.5;

/// What could be prefilled now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backlog {
    pub(crate) sequences: u32,
    pub(crate) tokens: u64,
}

/// Most tokens of a step in which `decodes` rows decode, at most `config.max_step_tokens`; steps in which
/// nobody decodes are full.
///
/// `prefill_per_token`: P / G; `None` when that is not known.
pub(crate) fn step_limit(
    config: &Config,
    decodes: u32,
    backlog: Backlog,
    prefill_per_token: Option<f64>,
) -> u32 {
    let full = config.max_step_tokens;
    if decodes == 0 {
        return full;
    }
    let part_of_full = |part: f64| part * f64::from(full);
    let batch = SPARE * f64::from(decodes) + SPARE_TO_FILL * f64::from(backlog.sequences);
    let balance = batch * prefill_per_token.unwrap_or(0.0);
    let part = (PART_OF_BACKLOG * backlog.tokens as f64)
        .min(part_of_full(MOST_OF_FULL) - f64::from(decodes))
        .max(part_of_full(LEAST_OF_FULL));
    let beside = balance.max(part).clamp(1.0, f64::from(full)).ceil() as u32;
    let wanted = decodes.saturating_add(beside);
    let edges = &config.step_token_edges;
    let edge = edges.partition_point(|edge| *edge < wanted);
    edges.get(edge).copied().unwrap_or(wanted).min(full)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn config(max_step_tokens: u32, step_token_edges: Vec<u32>) -> Config {
        Config {
            block_size: 16,
            num_blocks: 1_000,
            max_step_tokens,
            max_running: 512,
            max_waiting: 512,
            max_sequence_tokens: 4_096,
            max_total_tokens: None,
            overlap_depth: 2,
            prefix_caching: false,
            step_token_edges,
            max_bypass: 8,
        }
    }

    fn limit(decodes: u32, sequences: u32, tokens: u64, prefill_per_token: Option<f64>) -> u32 {
        let edges = vec![128, 192, 256, 384, 512, 640, 768, 1_024];
        let backlog = Backlog { sequences, tokens };
        step_limit(&config(1_024, edges), decodes, backlog, prefill_per_token)
    }

    #[test]
    fn steps_are_full_while_nobody_decodes() {
        assert_eq!(limit(0, 1, 10, Some(2.0)), 1_024);
        assert_eq!(limit(0, 20, 10_000, None), 1_024);
    }

    #[test]
    fn steps_take_a_quarter_more_than_balance_needs() {
        // Prompts of 512 tokens and answers of 256.
        assert_eq!(limit(96, 4, 300, Some(2.0)), 384);
        assert_eq!(limit(120, 0, 0, Some(2.0)), 512);
        assert_eq!(limit(256, 0, 0, Some(2.0)), 1_024);
        // Prompts of 2,048 and answers of 128: even half of the batch needs all there is.
        assert_eq!(limit(51, 0, 0, Some(16.0)), 1_024);
    }

    #[test]
    fn a_large_batch_fills_fast() {
        assert_eq!(limit(4, 96, 49_152, Some(2.0)), 512);
        assert_eq!(limit(4, 252, 129_024, Some(2.0)), 1_024);
        // Answers of 1,024.
        assert_eq!(limit(4, 252, 129_024, Some(0.5)), 512);
    }

    #[test]
    fn a_quarter_of_what_waits_is_worked_off_at_once() {
        // A prompt comes to a few rows.
        assert_eq!(limit(8, 1, 1_000, Some(0.1)), 384);
        assert_eq!(limit(8, 1, 624, Some(0.1)), 192);
        assert_eq!(limit(8, 1, 10, Some(0.1)), 192);
        assert_eq!(limit(60, 4, 1_100, Some(2.0)), 384);
    }

    #[test]
    fn much_that_waits_does_not_hold_up_those_that_decode() {
        assert_eq!(limit(100, 10, 100_000, Some(1.0)), 512);
        assert_eq!(limit(100, 10, 100_000, None), 512);
        assert_eq!(limit(1_024, 100, 100_000, Some(0.01)), 1_024);
    }

    #[test]
    fn a_prompt_that_meets_many_rows_with_long_answers_takes_no_more_steps_than_beside_a_few() {
        assert_eq!(limit(450, 1, 4_000, Some(0.01)), 640);
        assert_eq!(limit(700, 1, 4_000, Some(0.01)), 1_024);
    }

    proptest! {
        #[test]
        fn there_is_always_room_for_prefill_and_never_more_than_a_full_step(
            full in 1_u32..5_000, decodes in 0_u32..6_000, sequences: u32, tokens: u64, ratio in 0.0_f64..1e9,
            mut edges in proptest::collection::vec(1_u32..5_000, 0..6)
        ) {
            edges.sort_unstable();
            edges.dedup();
            let limit = step_limit(&config(full, edges), decodes, Backlog { sequences, tokens }, Some(ratio));
            prop_assert!(limit <= full);
            prop_assert!(limit == full || limit > decodes);
        }
    }
}
