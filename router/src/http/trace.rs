//! One span a request. Its event at the end is written where the end is: by a generation when its
//! stream is over, by this layer for everything refused before. Bodies and keys are never logged.

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;
use tracing::field::Empty;

use crate::http::problem::Problem;

/// Runs a request inside its span.
pub async fn request_span(request: Request, next: Next) -> Response {
    // The route's pattern: a path as sent could hold anything.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("", MatchedPath::as_str)
        .to_owned();
    let span = tracing::info_span!("request", method = %request.method(), route, tenant = Empty);
    let response = next.run(request).instrument(span.clone()).await;
    if let Some(problem) = response.extensions().get::<Problem>() {
        tracing::info!(
            parent: &span,
            status = response.status().as_u16(),
            code = problem.code,
            param = problem.param.as_deref().map(shorten),
            "request refused"
        );
    }
    response
}

/// A path into a body holds keys that the client chose.
fn shorten(param: &str) -> &str {
    param
        .char_indices()
        .nth(80)
        .map_or(param, |(end, _)| param.get(..end).unwrap_or_default())
}
