//! The figures of a run, printed as one JSON object.

use std::time::Duration;

use serde::Serialize;

use crate::HttpArgs;

/// What one answer took.
#[derive(Default)]
pub struct Answered {
    /// Seconds from sending the request to the first token's event.
    pub ttft_s: f64,
    /// Seconds between events that follow each other.
    pub itl_s: Vec<f32>,
    /// Completion tokens by the answer's own usage.
    pub tokens: u64,
    /// Events that held a piece of the answer.
    pub events: u64,
}

/// Figures of a closed loop over HTTP. Times in milliseconds.
#[derive(Serialize)]
pub struct HttpReport {
    concurrency: usize,
    prompts: usize,
    prompt_tokens: usize,
    output_tokens: usize,
    seconds: f64,
    out_tok_s: f64,
    events: u64,
    ttft_mean_ms: f64,
    ttft_p50_ms: f64,
    ttft_p99_ms: f64,
    itl_mean_ms: f64,
    itl_p99_ms: f64,
}

/// The value below which `fraction` of the sorted values lie (nearest rank), 0 without values.
fn percentile(sorted: &[f64], fraction: f64) -> f64 {
    let rank = (sorted.len() as f64 * fraction).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

impl HttpReport {
    /// Sums up a run that took `elapsed`.
    pub fn new(args: &HttpArgs, elapsed: Duration, answered: &[Answered]) -> Self {
        let ttft = sorted(answered.iter().map(|a| a.ttft_s * 1e3));
        let itl = sorted(
            answered
                .iter()
                .flat_map(|a| a.itl_s.iter().map(|s| f64::from(*s) * 1e3)),
        );
        let tokens: u64 = answered.iter().map(|a| a.tokens).sum();
        Self {
            concurrency: args.concurrency,
            prompts: answered.len(),
            prompt_tokens: args.prompt_tokens,
            output_tokens: args.output_tokens,
            seconds: elapsed.as_secs_f64(),
            out_tok_s: tokens as f64 / elapsed.as_secs_f64(),
            events: answered.iter().map(|a| a.events).sum(),
            ttft_mean_ms: mean(&ttft),
            ttft_p50_ms: percentile(&ttft, 0.5),
            ttft_p99_ms: percentile(&ttft, 0.99),
            itl_mean_ms: mean(&itl),
            itl_p99_ms: percentile(&itl, 0.99),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn percentiles_are_nearest_rank() {
        let values = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(percentile(&values, 0.5), 2.0);
        assert_eq!(percentile(&values, 0.99), 4.0);
        assert_eq!(percentile(&[], 0.5), 0.0);
    }
}
