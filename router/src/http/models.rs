//! `GET /v1/models` and `/v1/models/{id}`

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use schemars::JsonSchema;
use serde::Serialize;

use crate::http::answer;
use crate::http::api::Operation;
use crate::http::app::App;
use crate::http::problem::Dialect;

#[derive(Serialize, JsonSchema)]
struct Models<'a> {
    object: &'static str,
    data: [Model<'a>; 1],
}

#[derive(Serialize, JsonSchema)]
struct Model<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
    root: &'a str,
    parent: Option<()>,
    /// Most tokens of a sequence; null while the model loads.
    max_model_len: Option<u32>,
}

/// What the document says of `GET /v1/models`.
pub fn describe() -> Operation {
    Operation::get("/v1/models", "What is served").answers::<Models>()
}

/// What the document says of `GET /v1/models/{id}`.
pub fn describe_one() -> Operation {
    Operation::get("/v1/models/{*id}", "One of what is served").answers::<Model>()
}

fn model(app: &App) -> Model<'_> {
    Model {
        id: app.name.id(),
        object: "model",
        created: 0,
        owned_by: "shardline",
        root: app.name.id(),
        parent: None,
        max_model_len: app.engine.info().map(|info| info.max_total_tokens),
    }
}

/// All models, of which there is one.
pub async fn list(State(app): State<Arc<App>>) -> Response {
    let models = Models {
        object: "list",
        data: [model(&app)],
    };
    answer::json(serde_json::to_vec(&models).unwrap_or_default())
}

/// One model; its id may hold slashes.
pub async fn one(State(app): State<Arc<App>>, Path(id): Path<String>) -> Response {
    match app.name.check(Some(&id)) {
        Ok(()) => answer::json(serde_json::to_vec(&model(&app)).unwrap_or_default()),
        Err(error) => error.respond(Dialect::OpenAi),
    }
}
