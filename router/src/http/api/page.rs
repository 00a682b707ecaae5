//! `GET /docs`: the document for people, one file that loads nothing from elsewhere.

use axum::response::{Html, IntoResponse, Response};
use http::{HeaderName, HeaderValue};

/// Nothing but what is in the file, and the document beside it.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'";

/// The page.
pub async fn route() -> Response {
    let mut response = Html(include_str!("docs.html")).into_response();
    let policy = HeaderName::from_static("content-security-policy");
    response
        .headers_mut()
        .insert(policy, HeaderValue::from_static(POLICY));
    response
}
