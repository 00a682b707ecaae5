//! `GET /version` and `/load`

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use schemars::JsonSchema;
use serde::Serialize;

use crate::http::answer;
use crate::http::api::Operation;
use crate::http::app::App;

#[derive(Serialize, JsonSchema)]
struct Version {
    version: &'static str,
}

#[derive(Serialize, JsonSchema)]
struct Load {
    /// Sequences that run or wait.
    server_load: u32,
}

/// What the document says of `GET /version`.
pub fn describe_version() -> Operation {
    Operation::get("/version", "The server's version").answers::<Version>()
}

/// What the document says of `GET /load`.
pub fn describe_load() -> Operation {
    Operation::get("/load", "How many sequences run or wait").answers::<Load>()
}

/// `GET /version`
pub async fn version() -> Response {
    let body = Version {
        version: env!("CARGO_PKG_VERSION"),
    };
    answer::json(serde_json::to_vec(&body).unwrap_or_default())
}

/// `GET /load`
pub async fn load(State(app): State<Arc<App>>) -> Response {
    let stats = app.engine.stats();
    let body = Load {
        server_load: stats.running.saturating_add(stats.waiting),
    };
    answer::json(serde_json::to_vec(&body).unwrap_or_default())
}
