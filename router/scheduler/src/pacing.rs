//! How much prefill goes beside decode rows.
//!
//! Sequences that bring P tokens of prefill and generate G each: of d that decode, d / G end with every
//! step, and d × P / G tokens must be prefilled for those that take their places. Steps with less let the
//! batch run empty. Steps with much more give the same tokens a second, but in bursts: those that decode
//! wait longer for each token, and sequences that began together end together.

use crate::plan::Config;

/// Prefill a step takes over what balance needs, for arrivals that are not even.
const SPARE: f64 = 2.0;

/// Most tokens of a step in which `decodes` rows decode, at most `config.max_step_tokens`.
///
/// `prefill_per_token`: P / G of sequences that ended lately; `None`: none has ended, and batches fill
/// fastest with full steps. Never less than half of a full step, since a step has costs of its own.
pub(crate) fn step_limit(config: &Config, decodes: u32, prefill_per_token: Option<f64>) -> u32 {
    let full = config.max_step_tokens;
    let (1.., Some(ratio)) = (decodes, prefill_per_token) else {
        return full;
    };
    let balance = (SPARE * ratio * f64::from(decodes)).min(f64::from(full)).ceil() as u32;
    let beside = decodes.saturating_add(balance.max(full.div_ceil(4)));
    let wanted = beside.max(full.div_ceil(2));
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

    #[test]
    fn steps_are_full_while_nobody_decodes_or_nothing_is_known() {
        let config = config(1_024, vec![]);
        assert_eq!(step_limit(&config, 0, Some(2.0)), 1_024);
        assert_eq!(step_limit(&config, 100, None), 1_024);
    }

    #[test]
    fn steps_take_what_balance_needs_and_as_much_again() {
        let config = config(1_024, vec![128, 256, 384, 512, 640, 768, 1_024]);
        // Prompts of 512 tokens and answers of 256.
        assert_eq!(step_limit(&config, 32, Some(2.0)), 512);
        assert_eq!(step_limit(&config, 100, Some(2.0)), 512);
        assert_eq!(step_limit(&config, 120, Some(2.0)), 640);
        assert_eq!(step_limit(&config, 256, Some(2.0)), 1_024);
        // Prompts of 2,048 and answers of 128: even half of the batch needs all there is.
        assert_eq!(step_limit(&config, 32, Some(16.0)), 1_024);
        // Long answers.
        assert_eq!(step_limit(&config, 256, Some(0.01)), 512);
        assert_eq!(step_limit(&config, 400, Some(0.01)), 768);
    }

    proptest! {
        #[test]
        fn there_is_always_room_for_prefill_and_never_more_than_a_full_step(
            full in 1_u32..5_000, decodes in 0_u32..6_000, ratio in 0.0_f64..1e9,
            mut edges in proptest::collection::vec(1_u32..5_000, 0..6)
        ) {
            edges.sort_unstable();
            edges.dedup();
            let limit = step_limit(&config(full, edges), decodes, Some(ratio));
            prop_assert!(limit <= full);
            prop_assert!(limit == full || limit > decodes);
        }
    }
}
