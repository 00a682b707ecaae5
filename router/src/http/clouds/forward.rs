//! Handing a body to another route.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::header;
use serde_json::{Map, Value};
use tower::ServiceExt;

use crate::http::app::App;
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::request_id::RequestId;

/// The routes that bodies are handed to.
#[derive(Clone, Debug)]
pub struct Inner(pub Router);

/// The field by which a body is told apart, and the route that reads such bodies.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    field: &'static str,
    path: &'static str,
}

impl Target {
    /// Bodies with this field belong to this path.
    #[must_use]
    pub const fn new(field: &'static str, path: &'static str) -> Self {
        Self { field, path }
    }

    /// The first whose field the body has.
    #[must_use]
    pub fn of(targets: &[Self], body: &Map<String, Value>) -> Option<Self> {
        let has = |target: &&Self| body.get(target.field).is_some_and(|value| !value.is_null());
        targets.iter().find(has).copied()
    }
}

/// What the handed requests have of the one that came in.
#[derive(Clone, Debug)]
pub struct Origin {
    id: RequestId,
    caller: Caller,
}

impl Origin {
    /// Of a request.
    #[must_use]
    pub fn of(request: &Request, app: &App) -> Self {
        Self {
            id: RequestId::of(request, &app.ids),
            caller: Caller::of(request),
        }
    }
}

impl Inner {
    /// The answer of the route at `target` to this body.
    ///
    /// # Errors
    /// When no request can be made of it.
    pub async fn call(&self, target: Target, origin: &Origin, body: Bytes) -> Result<Response, ApiError> {
        let mut request = Request::post(target.path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body))
            .map_err(|error| ApiError::Internal {
                cause: error.to_string(),
            })?;
        request.extensions_mut().insert(origin.id.clone());
        request.extensions_mut().insert(origin.caller.clone());
        match self.0.clone().oneshot(request).await {
            Ok(response) => Ok(response),
            Err(never) => match never {},
        }
    }
}
