//! A request that runs: its session, its place, and what is written down at its end, however it
//! ends.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use shardline_text::Tokenizer;
use tracing::Span;

use crate::engine::api::Finish;
use crate::http::admission::Place;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::metrics::{Failure, RequestNumbers};
use crate::session::{Accounts, ChoiceEvent, Session};

/// See the module's text.
#[derive(Debug)]
pub struct Running {
    app: Arc<App>,
    tokenizer: Arc<Tokenizer>,
    session: Session,
    /// Given back when everything else is done.
    place: Place,
    facts: Facts,
    failure: Option<Failure>,
    /// All choices have ended.
    complete: bool,
    span: Span,
}

/// What is known when a request begins to run.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Time to check and tokenise.
    pub validation: Duration,
    /// Tokens each choice may generate.
    pub max_new_tokens: u32,
    /// Characters of all prompts.
    pub prompt_characters: usize,
}

/// How long the parts of a finished request took.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// From the first byte.
    pub total: Duration,
    /// To check and tokenise.
    pub validation: Duration,
    /// In the queue.
    pub queue: Duration,
    /// In the batch.
    pub inference: Duration,
}

impl Running {
    /// Follows a session until its end. `place` is given back with it.
    #[must_use]
    pub fn new(
        app: Arc<App>,
        tokenizer: Arc<Tokenizer>,
        session: Session,
        place: Place,
        facts: Facts,
    ) -> Self {
        let span = Span::current();
        Self {
            app,
            tokenizer,
            session,
            place,
            facts,
            failure: None,
            complete: false,
            span,
        }
    }

    /// See `Session::poll_event`.
    pub fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<(usize, ChoiceEvent)>> {
        let polled = self.session.poll_event(context);
        if matches!(polled, Poll::Ready(None)) {
            self.complete = true;
        }
        polled
    }

    /// See `poll_event`.
    pub async fn next(&mut self) -> Option<(usize, ChoiceEvent)> {
        poll_fn(|context| self.poll_event(context)).await
    }

    /// Notes that the request failed, and says how.
    pub fn fail(&mut self, finish: &Finish) -> ApiError {
        let error = ApiError::of_finish(finish).unwrap_or(ApiError::Incomplete {
            cause: "it ended before its end".to_owned(),
        });
        self.failure = Some(Failure::of(&error));
        error
    }

    /// What was used so far.
    #[must_use]
    pub fn accounts(&self) -> &Accounts {
        self.session.accounts()
    }

    /// Of the model.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// How many choices there are.
    #[must_use]
    pub fn choices(&self) -> usize {
        self.session.choices()
    }

    /// See `Facts`.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The server.
    #[must_use]
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Up to the last event.
    #[must_use]
    pub fn times(&self) -> Times {
        let accounts = self.session.accounts();
        let since = |earlier: Instant| accounts.last_event_at.saturating_duration_since(earlier);
        Times {
            total: since(accounts.began),
            validation: self.facts.validation,
            queue: accounts.queued,
            inference: accounts.started_at.map_or(Duration::ZERO, since),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let failure = self.failure.or(if self.complete {
            None
        } else {
            Some(Failure::Dropped)
        });
        let accounts = self.session.accounts();
        self.place
            .used(u64::from(accounts.prompt_tokens) + u64::from(accounts.generated_tokens));
        let times = self.times();
        let first_token = accounts
            .first_token_at
            .map(|at| at.saturating_duration_since(accounts.began));
        self.app.metrics.ended(&RequestNumbers {
            total: times.total,
            validation: times.validation,
            queue: times.queue,
            inference: times.inference,
            first_token,
            between_tokens: accounts.between_tokens.clone(),
            prompt_tokens: accounts.prompt_tokens,
            cached_tokens: accounts.cached_tokens,
            generated_tokens: accounts.generated_tokens,
            max_new_tokens: self.facts.max_new_tokens,
            failure,
        });
        self.app.admission.note(accounts.began.elapsed());
        tracing::info!(
            parent: &self.span,
            outcome = failure.map_or("success", Failure::name),
            prompt_tokens = accounts.prompt_tokens,
            cached_tokens = accounts.cached_tokens,
            generated_tokens = accounts.generated_tokens,
            choices = self.session.choices(),
            queue_ms = milliseconds(times.queue),
            first_token_ms = first_token.map(milliseconds),
            total_ms = milliseconds(times.total),
            "generation ended"
        );
    }
}

/// To the hundredth: the clock's further digits are noise.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e5).round() / 1e2
}
