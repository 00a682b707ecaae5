//! `GET /metrics`

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};

use crate::http::api::Operation;
use crate::http::app::App;
use crate::http::metrics::CONTENT_TYPE;

/// What the document says of the route.
pub fn describe() -> Operation {
    Operation::get("/metrics", "All numbers, for Prometheus").text("text/plain")
}

/// All numbers, for Prometheus.
pub async fn route(State(app): State<Arc<App>>) -> Response {
    let page = app
        .metrics
        .page(&app.engine.stats(), app.engine.info().as_deref());
    let mut response = page.into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    response
}
