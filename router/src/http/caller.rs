//! Whose request it is, and what its key pays for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::Request;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::access::{Account, Level, Spending};
use crate::engine::api::Generate;
use crate::http::decoding::Decoding;
use crate::http::error::ApiError;

/// The account of the request's key; none where no key is needed.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    account: Option<Arc<Account>>,
}

impl Caller {
    /// The owner of a key.
    #[must_use]
    pub fn new(account: Arc<Account>) -> Self {
        Self {
            account: Some(account),
        }
    }

    /// As the check of the key noted it.
    #[must_use]
    pub fn of(request: &Request) -> Self {
        request.extensions().get::<Self>().cloned().unwrap_or_default()
    }

    /// Takes what the request will use at most, as far as it says so: its prompts, and the tokens
    /// that it asks for. What it really uses is settled at its end.
    ///
    /// # Errors
    /// `RateLimited`.
    pub fn pay(
        &self,
        prompt_tokens: u32,
        decoding: &Decoding,
        prompts: usize,
    ) -> Result<Option<Spending>, ApiError> {
        let Some(account) = &self.account else {
            return Ok(None);
        };
        let answers = u64::from(decoding.choices).saturating_mul(prompts as u64);
        let asked = u64::from(decoding.must_fit().unwrap_or(0)).saturating_mul(answers);
        let most = asked.saturating_add(prompt_tokens.into());
        account
            .spend(most, Instant::now())
            .map(Some)
            .map_err(ApiError::RateLimited)
    }

    /// Writes the tenant on a sequence: tenants share the model fairly, and their prefix caches not
    /// at all, as a hit would tell what another one has asked.
    #[must_use]
    pub fn sign(&self, mut generate: Generate) -> Generate {
        if let Some(account) = &self.account {
            let tenant = account.tenant().id;
            generate.tenant = tenant;
            generate.cache_salt ^= tenant;
        }
        generate
    }

    /// Adds the headers that say what is left, where there is a limit.
    pub fn tell_quota(&self, headers: &mut HeaderMap) {
        let Some(account) = &self.account else { return };
        let quota = account.quota(Instant::now());
        if let Some(level) = quota.requests {
            tell(headers, &REQUESTS, level);
        }
        if let Some(level) = quota.tokens {
            tell(headers, &TOKENS, level);
        }
    }
}

/// Limit, remaining and reset.
type Names = [HeaderName; 3];

const REQUESTS: Names = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
const TOKENS: Names = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];

fn tell(headers: &mut HeaderMap, names: &Names, level: Level) {
    let [limit, remaining, reset] = names.clone();
    headers.insert(limit, HeaderValue::from(level.limit));
    headers.insert(remaining, HeaderValue::from(level.remaining));
    if let Ok(text) = HeaderValue::try_from(duration_text(level.reset)) {
        headers.insert(reset, text);
    }
}

/// `6m0s`, `1.5s` or `20ms`, as clients of this API know it.
fn duration_text(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    let (minutes, rest) = (milliseconds / 60_000, milliseconds % 60_000);
    let (seconds, fraction) = (rest / 1000, rest % 1000);
    match (minutes, seconds, fraction) {
        (0, 0, fraction) => format!("{fraction}ms"),
        (0, seconds, 0) => format!("{seconds}s"),
        (0, seconds, fraction) => format!("{seconds}.{fraction:03}s"),
        (minutes, seconds, _) => format!("{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        for (milliseconds, text) in [
            (0, "0ms"),
            (20, "20ms"),
            (1000, "1s"),
            (1500, "1.500s"),
            (60_000, "1m0s"),
            (361_900, "6m1s"),
        ] {
            assert_eq!(duration_text(Duration::from_millis(milliseconds)), text);
        }
    }
}
