//! `POST /invocations`: `SageMaker`'s one route for every kind of request.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::http::answer::{self, Handled};
use crate::http::api::Operation;
use crate::http::app::App;
use crate::http::clouds::forward::{Inner, Origin, Target};
use crate::http::error::ApiError;
use crate::http::problem::Dialect;

const TARGETS: [Target; 3] = [
    Target::new("inputs", "/"),
    Target::new("messages", "/v1/chat/completions"),
    Target::new("prompt", "/v1/completions"),
];

/// Which route is meant; all its other fields may stand beside these.
#[derive(Debug, Deserialize, JsonSchema)]
#[allow(dead_code, reason = "read by the document alone")]
pub struct InvocationFields {
    /// As in `POST /`.
    inputs: Option<String>,
    /// As in `POST /v1/chat/completions`.
    messages: Option<Vec<Map<String, Value>>>,
    /// As in `POST /v1/completions`.
    prompt: Option<Value>,
}

/// What the document says of the route.
pub fn describe() -> Operation {
    let summary = "Any generation: `inputs` as in /, `messages` as in /v1/chat/completions, `prompt` as in \
                   /v1/completions";
    Operation::post::<(InvocationFields,)>("/invocations", summary)
        .answers::<Value>()
        .streams()
}

/// The route.
pub async fn route(
    State(app): State<Arc<App>>,
    Extension(inner): Extension<Inner>,
    request: Request,
) -> Response {
    let handled = handle(&app, &inner, request).await;
    handled.unwrap_or_else(|error| error.respond(Dialect::Native))
}

async fn handle(app: &App, inner: &Inner, request: Request) -> Handled {
    let origin = Origin::of(&request, app);
    let body = answer::read(app, request).await?;
    let fields: Map<String, Value> = body.parse()?;
    let target = Target::of(&TARGETS, &fields).ok_or_else(|| ApiError::missing("inputs"))?;
    inner.call(target, &origin, body.bytes()).await
}
