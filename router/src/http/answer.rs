//! The frame that every generation route has: who may enter, and what answers look like.

use std::future::Future;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};

use crate::http::app::{App, Served};
use crate::http::body::JsonBody;
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::problem::Dialect;
use crate::http::rules::Rules;
use crate::http::sse::{EventBody, Spelling};

/// What a route's own part gives.
pub type Handled = Result<Response, ApiError>;

/// Runs a generation request, counting it and spelling its error.
pub async fn generation(app: &App, dialect: Dialect, handle: impl Future<Output = Handled>) -> Response {
    app.metrics.request();
    match handle.await {
        Ok(response) => response,
        Err(error) => {
            // What fails while it runs is counted where it ends.
            if !matches!(error, ApiError::Generation { .. } | ApiError::Incomplete { .. }) {
                app.metrics.refused(&error);
            }
            error.respond(dialect)
        }
    }
}

/// Refuses early what cannot be served anyway, then reads the body.
///
/// # Errors
/// Not ready, full, or a body that cannot be read.
pub async fn admit(app: &App, request: Request) -> Result<(Served, JsonBody), ApiError> {
    let mut served = app.served()?;
    served.caller = Caller::of(&request);
    app.admission.check()?;
    let body = read(app, request).await?;
    Ok((served, body))
}

/// Reads a body within the limits.
///
/// # Errors
/// See `Intake::read`.
pub async fn read(app: &App, request: Request) -> Result<JsonBody, ApiError> {
    let (parts, body) = request.into_parts();
    app.intake.read(&parts.headers, body).await
}

/// Bodies beyond this are parsed where texts are tokenised: it takes as long.
const INLINE_BYTES: usize = 64 * 1024;

/// Checks a body by a route's rules.
///
/// # Errors
/// With the first field at fault.
pub async fn checked<T: Send + 'static>(
    app: &Arc<App>,
    served: &Served,
    body: JsonBody,
    validate: fn(&JsonBody, Rules<'_>) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    if body.len() <= INLINE_BYTES {
        return validate(&body, rules(app, served));
    }
    let (shared, served) = (app.clone(), served.clone());
    app.workers
        .run(move || validate(&body, rules(&shared, &served)))
        .await?
}

/// What a body is checked against.
fn rules<'a>(app: &'a Arc<App>, served: &'a Served) -> Rules<'a> {
    Rules {
        limits: &served.limits,
        defaults: &served.text.generation,
        name: &app.name,
        ids: &app.ids,
    }
}

/// An answer in one piece.
#[must_use]
pub fn json(text: Vec<u8>) -> Response {
    let mut response = Body::from(text).into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer as events.
#[must_use]
pub fn events<S: Spelling>(body: EventBody<S>) -> Response {
    let begun = body.begun();
    let mut response = Body::new(body).into_response();
    let headers = response.headers_mut();
    headers.extend(begun);
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
