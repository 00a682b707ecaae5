//! Headers that tell what an answer cost.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::http::running::Running;

/// The headers of an answer in one piece. Times are in milliseconds, but for `x-compute-time`.
#[must_use]
pub fn whole(running: &Running) -> HeaderMap {
    let (times, accounts) = (running.times(), running.accounts());
    let per_token = times.inference.as_millis() / u128::from(accounts.generated_tokens.max(1));
    let mut headers = first(running);
    for (name, value) in [
        ("x-compute-time", times.total.as_secs_f64().to_string()),
        ("x-total-time", times.total.as_millis().to_string()),
        ("x-validation-time", times.validation.as_millis().to_string()),
        ("x-queue-time", times.queue.as_millis().to_string()),
        ("x-inference-time", times.inference.as_millis().to_string()),
        ("x-time-per-token", per_token.to_string()),
        ("x-prompt-tokens", accounts.prompt_tokens.to_string()),
        ("x-generated-tokens", accounts.generated_tokens.to_string()),
    ] {
        put(&mut headers, name, &value);
    }
    headers
}

/// The headers that are known when the first token is there: where its time went.
#[must_use]
pub fn begun(running: &Running) -> HeaderMap {
    let (times, accounts) = (running.times(), running.accounts());
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("x-validation-time", times.validation.as_millis().to_string()),
        ("x-queue-time", times.queue.as_millis().to_string()),
        ("x-prompt-tokens", accounts.prompt_tokens.to_string()),
    ] {
        put(&mut headers, name, &value);
    }
    headers
}

/// The headers that are known before the first token.
#[must_use]
pub fn first(running: &Running) -> HeaderMap {
    let mut headers = HeaderMap::new();
    put(&mut headers, "x-compute-type", &running.app().compute_type());
    put(
        &mut headers,
        "x-compute-characters",
        &running.facts().prompt_characters.to_string(),
    );
    headers
}

fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    // What cannot stand in a header (a device name of another alphabet) is left out.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}
