//! The API key.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, header};

use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::problem::Dialect;
use crate::http::settings::ApiKey;

/// Lets a request pass that has the key, or when there is none.
pub async fn require_key(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    match &app.settings.api_key {
        Some(key) => match check(key, request.headers()) {
            Ok(()) => next.run(request).await,
            Err(error) => error.respond(Dialect::of_path(request.uri().path())),
        },
        None => next.run(request).await,
    }
}

fn check(key: &ApiKey, headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Err(ApiError::Unauthorized { given: false });
    };
    match bearer(value.as_bytes()) {
        Some(guess) if key.matches(guess) => Ok(()),
        Some(_) => Err(ApiError::Unauthorized { given: true }),
        None => Err(ApiError::Unauthorized { given: false }),
    }
}

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
        let key = ApiKey::new("Sesame").unwrap();
        for (value, result) in [
            ("Bearer Sesame", Ok(())),
            ("bearer  Sesame", Ok(())),
            ("Bearer sesame", Err(ApiError::Unauthorized { given: true })),
            ("Bearer", Err(ApiError::Unauthorized { given: false })),
            ("Basic Sesame", Err(ApiError::Unauthorized { given: false })),
            ("Sesame", Err(ApiError::Unauthorized { given: false })),
        ] {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
            assert_eq!(check(&key, &headers), result, "{value}");
        }
        assert_eq!(
            check(&key, &HeaderMap::new()),
            Err(ApiError::Unauthorized { given: false })
        );
    }
}
