//! `POST /vertex`: Google's form of several requests in one.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::future::try_join_all;
use http_body_util::BodyExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::http::answer::{self, Handled};
use crate::http::api::Operation;
use crate::http::app::App;
use crate::http::clouds::forward::{Inner, Origin, Target};
use crate::http::error::{ApiError, Rule};
use crate::http::fields;
use crate::http::problem::{Dialect, Problem};

const TARGETS: [Target; 2] = [
    Target::new("inputs", "/generate"),
    Target::new("messages", "/v1/chat/completions"),
];

/// The body.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(expecting = "an object")]
pub struct VertexFields {
    /// Bodies as in `POST /generate` or `/v1/chat/completions`.
    instances: Option<Vec<Map<String, Value>>>,
}

/// The answer.
#[derive(Debug, Serialize, JsonSchema)]
struct Predictions {
    /// One text an instance, in their order.
    predictions: Vec<String>,
}

/// What the document says of the route.
pub fn describe() -> Operation {
    let summary = "Several generations: each instance as in /generate or /v1/chat/completions";
    Operation::post::<(VertexFields,)>("/vertex", summary)
        .requires(&["instances"])
        .answers::<Predictions>()
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
    let ((fields,), ignored) = fields::read::<(VertexFields,)>(&body, &[])?;
    let instances = fields.instances.ok_or_else(|| ApiError::missing("instances"))?;
    let most = app.settings.max_client_batch_size as usize;
    if instances.is_empty() || instances.len() > most {
        let message = format!(
            "`instances` must hold 1 to {most} instances (--max-client-batch-size). Given: {}",
            instances.len()
        );
        return Err(ApiError::invalid("instances", Rule::Count, message));
    }
    // All at once: the engine runs them side by side.
    let calls = instances
        .into_iter()
        .enumerate()
        .map(|(index, instance)| predict(inner, &origin, index, instance));
    let mut response = match try_join_all(calls).await {
        Ok(predictions) => {
            let text = serde_json::to_vec(&Predictions { predictions });
            answer::json(text.unwrap_or_default())
        }
        Err(Refused::Here(error)) => return Err(error),
        Err(Refused::There(response)) => *response,
    };
    ignored.put(response.headers_mut());
    Ok(response)
}

/// A refusal with the instance in the path of its field.
fn within(mut response: Response, index: usize) -> Response {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let param = match &problem.param {
            Some(param) => format!("instances[{index}].{param}"),
            None => format!("instances[{index}]"),
        };
        let problem = Problem {
            param: Some(param),
            ..problem
        };
        return problem.into_response(Dialect::Native);
    }
    response
}

/// Why an instance has no prediction.
enum Refused {
    Here(ApiError),
    /// The answer of the route that it was handed to.
    There(Box<Response>),
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Self::Here(error)
    }
}

async fn predict(
    inner: &Inner,
    origin: &Origin,
    index: usize,
    mut instance: Map<String, Value>,
) -> Result<String, Refused> {
    let target = Target::of(&TARGETS, &instance)
        .ok_or_else(|| ApiError::missing(&format!("instances[{index}].inputs")))?;
    // One text an instance is all that can be told.
    instance.insert("stream".to_owned(), Value::Bool(false));
    instance.remove("stream_options");
    if let Some(Value::Object(parameters)) = instance.get_mut("parameters") {
        parameters.entry("do_sample").or_insert(Value::Bool(true));
    }
    let body = Bytes::from(Value::Object(instance).to_string());
    let response = inner.call(target, origin, body).await?;
    if !response.status().is_success() {
        return Err(Refused::There(Box::new(within(response, index))));
    }
    let internal = |cause: String| ApiError::Internal { cause };
    let collected = response.into_body().collect().await;
    let text = collected.map_err(|error| internal(error.to_string()))?.to_bytes();
    let answer: Value = serde_json::from_slice(&text).map_err(|error| internal(error.to_string()))?;
    let generated = answer
        .get("generated_text")
        .or_else(|| answer.pointer("/choices/0/message/content"));
    Ok(generated.and_then(Value::as_str).unwrap_or_default().to_owned())
}
