//! One span a request. Its event at the end is written where the end is: by a generation when its
//! stream is over, by this layer for everything refused before. Bodies and keys are never logged.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;
use tracing::field::Empty;

use crate::http::app::App;
use crate::http::problem::{Dialect, Problem};
use crate::http::request_id::RequestId;

/// Runs a request inside its span, under its id.
pub async fn request_span(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    // The route's pattern: a path as sent could hold anything.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("", MatchedPath::as_str)
        .to_owned();
    let id = RequestId::of_headers(request.headers(), &app.ids);
    let request_id = id.as_ref().map(RequestId::text).unwrap_or_default();
    let span = tracing::info_span!(
        "request",
        method = %request.method(),
        route,
        request_id,
        tenant = Empty
    );
    let response = match id {
        Ok(id) => {
            request.extensions_mut().insert(id.clone());
            let mut response = next.run(request).instrument(span.clone()).await;
            id.put(response.headers_mut());
            response
        }
        Err(error) => error.respond(Dialect::of_path(request.uri().path())),
    };
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
