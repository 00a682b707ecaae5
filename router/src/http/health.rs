//! `GET /health`, `/ping` and `/`

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;

use crate::engine::api::EngineState;
use crate::http::answer;
use crate::http::api::Operation;
use crate::http::app::App;

/// What the launcher is told of the group of shards.
#[derive(Serialize)]
struct Group<'a> {
    /// Which one is served or awaited: 1, and one more each time the launcher replaces it.
    group: u64,
    /// Whether it serves requests.
    serving: bool,
    /// Why it must be replaced.
    stuck: Option<&'a str>,
}

#[derive(Serialize)]
struct Unhealthy<'a> {
    error: &'static str,
    error_type: &'static str,
    phase: &'a str,
    message: &'a str,
}

/// What the document says of one of the three routes.
pub fn describe(path: &'static str) -> Operation {
    Operation::get(path, "Whether requests are served")
}

/// 200 without a body when requests are served, else 503 with the reason.
pub async fn route(State(app): State<Arc<App>>) -> Response {
    match app.engine.state() {
        EngineState::Ready if app.model.get().is_some() => StatusCode::OK.into_response(),
        state => unhealthy(&state),
    }
}

/// How the group of shards is, for the launcher alone.
pub async fn group(State(app): State<Arc<App>>) -> Response {
    let (group, state) = app.engine.group();
    let told = Group {
        group,
        serving: state == EngineState::Ready && app.model.get().is_some(),
        stuck: match &state {
            EngineState::Recovering { cause, stuck: true } => Some(cause),
            _ => None,
        },
    };
    answer::json(serde_json::to_vec(&told).unwrap_or_default())
}

fn unhealthy(state: &EngineState) -> Response {
    let (phase, message) = match state {
        EngineState::Starting { phase, message } => (phase.as_str(), message.as_str()),
        EngineState::Ready => ("loading", "the tokenizer is loading"),
        EngineState::Recovering { cause, .. } => ("recovering", cause.as_str()),
        EngineState::Draining => ("draining", "running requests finish, new ones are refused"),
        EngineState::Failed { cause } => ("failed", cause.as_str()),
    };
    let body = Unhealthy {
        error: "unhealthy",
        error_type: "healthcheck",
        phase,
        message,
    };
    let mut response = answer::json(serde_json::to_vec(&body).unwrap_or_default());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}
