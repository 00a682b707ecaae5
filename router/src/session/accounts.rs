//! What a request used and how long its parts took, kept without touching anything shared.

use std::time::{Duration, Instant};

use crate::histogram::{Bounds, LocalHistogram};
use crate::session::choice::{ChoiceEvent, End};

/// Seconds between two tokens.
pub const TOKEN_SECONDS: Bounds = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5,
    5.0, 10.0, 40.0,
];

/// The numbers of one request.
#[derive(Clone, Debug)]
pub struct Accounts {
    /// When its first byte was here.
    pub began: Instant,
    /// Tokens of all prompts, each counted once.
    pub prompt_tokens: u32,
    /// Of these, taken from the prefix cache (for the first choice of each prompt).
    pub cached_tokens: u32,
    /// Tokens of all choices, stop tokens included.
    pub generated_tokens: u32,
    /// Longest time of a choice in the queue.
    pub queued: Duration,
    /// When the first choice entered the batch.
    pub started_at: Option<Instant>,
    /// When the first token came.
    pub first_token_at: Option<Instant>,
    /// When the last event came.
    pub last_event_at: Instant,
    /// Seconds between tokens of the same choice.
    pub between_tokens: LocalHistogram,
    /// Choices that ended well.
    pub ended: u32,
    /// Choices that did not.
    pub failed: u32,
    choices_per_prompt: usize,
    choices: Vec<ChoiceAccounts>,
}

#[derive(Clone, Copy, Debug, Default)]
struct ChoiceAccounts {
    last_token_at: Option<Instant>,
    cached_tokens: Option<u32>,
}

impl Accounts {
    /// Of a request that began at `began`, whose choices are `choices_per_prompt` a prompt.
    #[must_use]
    pub fn new(began: Instant, prompt_tokens: u32, prompts: usize, choices_per_prompt: usize) -> Self {
        Self {
            began,
            prompt_tokens,
            cached_tokens: 0,
            generated_tokens: 0,
            queued: Duration::ZERO,
            started_at: None,
            first_token_at: None,
            last_event_at: began,
            between_tokens: LocalHistogram::new(TOKEN_SECONDS),
            ended: 0,
            failed: 0,
            choices_per_prompt: choices_per_prompt.max(1),
            choices: vec![ChoiceAccounts::default(); prompts * choices_per_prompt],
        }
    }

    pub(super) fn note(&mut self, index: usize, event: &ChoiceEvent) {
        let now = Instant::now();
        self.last_event_at = now;
        match event {
            ChoiceEvent::Started {
                cached_tokens,
                queued,
            } => self.note_start(index, *cached_tokens, *queued, now),
            ChoiceEvent::Prompt(_) => {}
            ChoiceEvent::Token(_) => {
                self.generated_tokens += 1;
                self.first_token_at.get_or_insert(now);
                if let Some(choice) = self.choices.get_mut(index)
                    && let Some(last) = choice.last_token_at.replace(now)
                {
                    self.between_tokens.record(now.duration_since(last).as_secs_f64());
                }
            }
            ChoiceEvent::Finished {
                end: End::Failed(_), ..
            } => self.failed += 1,
            ChoiceEvent::Finished { .. } => self.ended += 1,
        }
    }

    fn note_start(&mut self, index: usize, cached_tokens: u32, queued: Duration, now: Instant) {
        self.started_at.get_or_insert(now);
        self.queued = self.queued.max(queued);
        let Some(choice) = self.choices.get_mut(index) else {
            return;
        };
        // Only the first start counts: after a preemption the cache holds the request's own work.
        if choice.cached_tokens.is_none() {
            choice.cached_tokens = Some(cached_tokens);
            if index.is_multiple_of(self.choices_per_prompt) {
                self.cached_tokens += cached_tokens;
            }
        }
    }
}
