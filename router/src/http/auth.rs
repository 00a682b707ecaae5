//! The API key: who may pass, and how often.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, header};
use tracing::Span;

use crate::access::{Account, Keys};
use crate::http::app::App;
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::problem::Dialect;

/// The header of clients that speak the Messages API.
const API_KEY: &str = "x-api-key";

/// Lets a request pass that has a valid key with something left, or when none is needed. Nothing of
/// the body has been read here.
pub async fn require_key(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let keys = &app.settings.keys;
    if !keys.required() {
        return next.run(request).await;
    }
    let dialect = Dialect::of_path(request.uri().path());
    let refuse = |error: ApiError| {
        app.metrics.refused(&error);
        error.respond(dialect)
    };
    let account = match check(keys, request.headers()) {
        Ok(account) => account,
        Err(error) => return refuse(error),
    };
    Span::current().record("tenant", &*account.tenant().name);
    let caller = Caller::new(account.clone());
    let mut response = match account.enter(Instant::now()) {
        Ok(()) => {
            request.extensions_mut().insert(caller.clone());
            next.run(request).await
        }
        Err(refusal) => refuse(ApiError::RateLimited(refusal)),
    };
    caller.tell_quota(response.headers_mut());
    response
}

/// The account of the key in either header.
fn check(keys: &Keys, headers: &HeaderMap) -> Result<Arc<Account>, ApiError> {
    let bearers = headers.get_all(header::AUTHORIZATION).iter();
    let bearers = bearers.filter_map(|value| bearer(value.as_bytes()));
    let plain = headers
        .get_all(API_KEY)
        .iter()
        .map(|value| value.as_bytes().trim_ascii());
    let mut given = false;
    for guess in bearers.chain(plain).take(MOST_GUESSES) {
        given = true;
        if let Some(account) = keys.find(guess) {
            return Ok(account);
        }
    }
    Err(ApiError::Unauthorized { given })
}

/// One a header; a client that sends more of them is guessing.
const MOST_GUESSES: usize = 2;

/// The token after `Bearer`, a scheme whose case does not count.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_is_bearer_in_any_case_and_the_key_in_its_own() {
        let keys = Keys::new(Some("Sesame"), None, Instant::now());
        let wrong = Err(ApiError::Unauthorized { given: true });
        let absent = Err(ApiError::Unauthorized { given: false });
        for (name, value, result) in [
            ("authorization", "Bearer Sesame", Ok(())),
            ("authorization", "bearer  Sesame", Ok(())),
            ("x-api-key", "Sesame", Ok(())),
            ("authorization", "Bearer sesame", wrong.clone()),
            ("x-api-key", "Bearer Sesame", wrong),
            ("authorization", "Bearer", absent.clone()),
            ("authorization", "Basic Sesame", absent.clone()),
            ("authorization", "Sesame", absent.clone()),
            ("x-key", "Sesame", absent),
        ] {
            let headers = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
            assert_eq!(check(&keys, &headers).map(|_| ()), result, "{name}: {value}");
        }
    }

    #[test]
    fn few_guesses_are_looked_at() {
        let keys = Keys::new(Some("Sesame"), None, Instant::now());
        let mut headers = HeaderMap::new();
        for guess in ["Bearer a", "Bearer b", "Bearer Sesame"] {
            headers.append(header::AUTHORIZATION, guess.parse().unwrap());
        }
        assert!(check(&keys, &headers).is_err());
    }
}
