//! What `/metrics` shows. A request keeps its own numbers and hands them over once, at its end.
//!
//! `tgi_*` are the names that dashboards know; what they lack is called `shardline_*`.

mod exposition;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use exposition::{CONTENT_TYPE, Page};

use crate::engine::api::{EngineInfo, EngineStats};
use crate::histogram::{Bounds, Histogram, LocalHistogram};
use crate::http::error::ApiError;
use crate::session::TOKEN_SECONDS;

/// Seconds of whole requests and of their parts.
pub const SECONDS: Bounds = &[
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0, 160.0, 640.0,
];
/// Tokens of a request.
pub const TOKENS: Bounds = &[
    1.0,
    2.0,
    5.0,
    10.0,
    20.0,
    50.0,
    100.0,
    200.0,
    500.0,
    1000.0,
    2000.0,
    5000.0,
    10000.0,
    20000.0,
    50000.0,
    100_000.0,
    200_000.0,
    500_000.0,
    1_000_000.0,
];

/// How a request ended, as the label `err` of the failures names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Refused for what it says.
    Validation,
    /// Refused for want of room.
    Overloaded,
    /// Refused by the limits of its key.
    RateLimited,
    /// Without a valid key.
    Unauthorized,
    /// The model could not go on.
    Generation,
    /// It ended before its end.
    Incomplete,
    /// The client went away.
    Dropped,
    /// The template refused it.
    Template,
}

impl Failure {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Validation, "validation"),
        (Self::Overloaded, "overloaded"),
        (Self::RateLimited, "rate_limited"),
        (Self::Unauthorized, "unauthorized"),
        (Self::Generation, "generation"),
        (Self::Incomplete, "incomplete"),
        (Self::Dropped, "dropped"),
        (Self::Template, "template"),
    ];

    /// The label's value.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or("", |(_, name)| *name)
    }

    /// Which kind of failure an error is.
    #[must_use]
    pub fn of(error: &ApiError) -> Self {
        match error {
            ApiError::Overloaded { .. } | ApiError::NoRoom { .. } | ApiError::NotReady { .. } => {
                Self::Overloaded
            }
            ApiError::RateLimited(_) => Self::RateLimited,
            ApiError::Unauthorized { .. } => Self::Unauthorized,
            ApiError::Generation { .. } => Self::Generation,
            ApiError::Incomplete { .. } | ApiError::Internal { .. } => Self::Incomplete,
            ApiError::Template { .. } => Self::Template,
            _ => Self::Validation,
        }
    }
}

/// The numbers of one request that ran.
#[derive(Clone, Debug)]
pub struct RequestNumbers {
    /// From the first byte to the last.
    pub total: Duration,
    /// Until it was checked and tokenised.
    pub validation: Duration,
    /// Until it entered the batch.
    pub queue: Duration,
    /// From the batch to the last token.
    pub inference: Duration,
    /// From the first byte to the first token.
    pub first_token: Option<Duration>,
    /// Seconds between tokens, see `TOKEN_SECONDS`.
    pub between_tokens: LocalHistogram,
    /// Of all prompts.
    pub prompt_tokens: u32,
    /// Of these, found in the prefix cache.
    pub cached_tokens: u32,
    /// Of all choices.
    pub generated_tokens: u32,
    /// As allowed.
    pub max_new_tokens: u32,
    /// Why it failed; `None`: it did not.
    pub failure: Option<Failure>,
}

/// All numbers since the start.
#[derive(Debug)]
pub struct Metrics {
    requests: AtomicU64,
    successes: AtomicU64,
    failures: [AtomicU64; Failure::ALL.len()],
    total: Histogram,
    validation: Histogram,
    queue: Histogram,
    inference: Histogram,
    mean_time_per_token: Histogram,
    first_token: Histogram,
    between_tokens: Histogram,
    input_length: Histogram,
    generated_tokens: Histogram,
    max_new_tokens: Histogram,
    prompt_tokens: AtomicU64,
    cached_tokens: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: AtomicU64::new(0),
            successes: AtomicU64::new(0),
            failures: [const { AtomicU64::new(0) }; Failure::ALL.len()],
            total: Histogram::new(SECONDS),
            validation: Histogram::new(SECONDS),
            queue: Histogram::new(SECONDS),
            inference: Histogram::new(SECONDS),
            mean_time_per_token: Histogram::new(TOKEN_SECONDS),
            first_token: Histogram::new(SECONDS),
            between_tokens: Histogram::new(TOKEN_SECONDS),
            input_length: Histogram::new(TOKENS),
            generated_tokens: Histogram::new(TOKENS),
            max_new_tokens: Histogram::new(TOKENS),
            prompt_tokens: AtomicU64::new(0),
            cached_tokens: AtomicU64::new(0),
        }
    }
}

impl Metrics {
    /// A generation request came in.
    pub fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// A request ended before it ran.
    pub fn refused(&self, error: &ApiError) {
        self.failed(Failure::of(error));
    }

    fn failed(&self, failure: Failure) {
        let counters = Failure::ALL.iter().zip(&self.failures);
        if let Some((_, counter)) = counters.into_iter().find(|((kind, _), _)| *kind == failure) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A request that ran has ended.
    pub fn ended(&self, numbers: &RequestNumbers) {
        self.between_tokens.merge(&numbers.between_tokens);
        self.prompt_tokens
            .fetch_add(numbers.prompt_tokens.into(), Ordering::Relaxed);
        self.cached_tokens
            .fetch_add(numbers.cached_tokens.into(), Ordering::Relaxed);
        if let Some(first) = numbers.first_token {
            self.first_token.record(first.as_secs_f64());
        }
        if let Some(failure) = numbers.failure {
            self.failed(failure);
            return;
        }
        self.successes.fetch_add(1, Ordering::Relaxed);
        self.total.record(numbers.total.as_secs_f64());
        self.validation.record(numbers.validation.as_secs_f64());
        self.queue.record(numbers.queue.as_secs_f64());
        self.inference.record(numbers.inference.as_secs_f64());
        if numbers.generated_tokens > 0 {
            let per_token = numbers.inference.as_secs_f64() / f64::from(numbers.generated_tokens);
            self.mean_time_per_token.record(per_token);
        }
        self.input_length.record(numbers.prompt_tokens.into());
        self.generated_tokens.record(numbers.generated_tokens.into());
        self.max_new_tokens.record(numbers.max_new_tokens.into());
    }

    /// The page of a scrape.
    #[must_use]
    pub fn page(&self, stats: &EngineStats, info: Option<&EngineInfo>) -> String {
        let mut page = Page::default();
        self.write_requests(&mut page);
        write_engine(&mut page, stats, info);
        page.finish()
    }

    fn write_requests(&self, page: &mut Page) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        page.counter("tgi_request_count", "Generation requests.", load(&self.requests));
        page.counter(
            "tgi_request_success",
            "Requests that ended well.",
            load(&self.successes),
        );
        let failures: Vec<_> = Failure::ALL
            .iter()
            .zip(&self.failures)
            .map(|((_, name), counter)| (*name, load(counter)))
            .collect();
        page.counters(
            "tgi_request_failure",
            "Requests that did not, by cause.",
            "err",
            &failures,
        );
        for (name, help, histogram) in [
            (
                "tgi_request_duration",
                "Seconds from first byte to last.",
                &self.total,
            ),
            (
                "tgi_request_validation_duration",
                "Seconds to check and tokenise.",
                &self.validation,
            ),
            ("tgi_request_queue_duration", "Seconds in the queue.", &self.queue),
            (
                "tgi_request_inference_duration",
                "Seconds in the batch.",
                &self.inference,
            ),
            (
                "tgi_request_mean_time_per_token_duration",
                "Seconds in the batch by generated tokens.",
                &self.mean_time_per_token,
            ),
            (
                "shardline_time_to_first_token_seconds",
                "Seconds to the first token.",
                &self.first_token,
            ),
            (
                "shardline_inter_token_seconds",
                "Seconds between two tokens.",
                &self.between_tokens,
            ),
            ("tgi_request_input_length", "Prompt tokens.", &self.input_length),
            (
                "tgi_request_generated_tokens",
                "Generated tokens.",
                &self.generated_tokens,
            ),
            (
                "tgi_request_max_new_tokens",
                "Allowed tokens.",
                &self.max_new_tokens,
            ),
        ] {
            page.histogram(name, help, histogram);
        }
        page.counter(
            "shardline_prompt_tokens_total",
            "Prompt tokens of requests that ran.",
            load(&self.prompt_tokens),
        );
        page.counter(
            "shardline_prompt_cached_tokens_total",
            "Of these, from the prefix cache.",
            load(&self.cached_tokens),
        );
    }
}

fn write_engine(page: &mut Page, stats: &EngineStats, info: Option<&EngineInfo>) {
    page.gauge("tgi_queue_size", "Sequences that wait.", stats.waiting);
    page.gauge("tgi_batch_current_size", "Sequences in the batch.", stats.running);
    let block_size = info.map_or(0, |info| info.block_size);
    let in_use = u64::from(stats.blocks_in_use) * u64::from(block_size);
    page.gauge(
        "tgi_batch_current_max_tokens",
        "Tokens of KV the batch holds.",
        in_use,
    );
    let total = info.map_or(0, |info| info.kv_cache_tokens);
    page.gauge("tgi_batch_max_total_tokens", "Tokens of KV there are.", total);
    for (name, help, value) in [
        (
            "shardline_sequences_waiting",
            "Sequences that wait.",
            stats.waiting,
        ),
        (
            "shardline_sequences_running",
            "Sequences in the batch.",
            stats.running,
        ),
        ("shardline_kv_blocks", "KV blocks in all.", stats.blocks_total),
        (
            "shardline_kv_blocks_in_use",
            "KV blocks of running sequences.",
            stats.blocks_in_use,
        ),
        (
            "shardline_kv_blocks_cached",
            "KV blocks kept for later requests only.",
            stats.blocks_cached,
        ),
    ] {
        page.gauge(name, help, value);
    }
    let used = f64::from(stats.blocks_in_use) / f64::from(stats.blocks_total.max(1));
    page.gauge(
        "shardline_kv_cache_usage_ratio",
        "Part of the KV blocks in use, 0 to 1.",
        used,
    );
    for (name, help, value) in [
        (
            "shardline_prefix_cache_query_tokens_total",
            "Prompt tokens looked up.",
            stats.prefix_queries_tokens,
        ),
        (
            "shardline_prefix_cache_hit_tokens_total",
            "Of these, found.",
            stats.prefix_hits_tokens,
        ),
        (
            "shardline_preemptions_total",
            "Sequences that gave their blocks away.",
            stats.preemptions,
        ),
        ("shardline_steps_total", "Steps.", stats.steps),
        (
            "shardline_overlapped_steps_total",
            "Steps sent while another was out.",
            stats.overlapped_steps,
        ),
        ("shardline_step_tokens_total", "Tokens run.", stats.step_tokens),
        (
            "shardline_generated_tokens_total",
            "Tokens generated.",
            stats.generated_tokens,
        ),
    ] {
        page.counter(name, help, value);
    }
    let seconds = Duration::from_micros(stats.step_us).as_secs_f64();
    page.counter("shardline_step_seconds_total", "Seconds of all steps.", seconds);
}
