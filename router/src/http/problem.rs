//! An error as the outside sees it, in the shape of either kind of route.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

/// Whose shape an answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `/v1/*`
    OpenAi,
    /// `/v1/messages`
    Anthropic,
    /// Everything else.
    Native,
}

impl Dialect {
    /// The dialect of a route.
    #[must_use]
    pub fn of_path(path: &str) -> Self {
        if path == "/v1/messages" || path.starts_with("/v1/messages/") {
            Self::Anthropic
        } else if path == "/v1" || path.starts_with("/v1/") {
            Self::OpenAi
        } else {
            Self::Native
        }
    }
}

/// A status, which for two kinds of error depends on the dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The same in both.
    Fixed(StatusCode),
    /// 400 on `/v1/*`, 422 on the native routes.
    Validation,
    /// 500 on `/v1/*`, 424 on the native routes.
    Generation,
}

impl From<StatusCode> for Status {
    fn from(status: StatusCode) -> Self {
        Self::Fixed(status)
    }
}

impl Status {
    /// The number on the wire.
    #[must_use]
    pub fn on(self, dialect: Dialect) -> StatusCode {
        match (self, dialect) {
            (Self::Fixed(status), _) => status,
            (Self::Validation, Dialect::OpenAi | Dialect::Anthropic) => StatusCode::BAD_REQUEST,
            (Self::Validation, Dialect::Native) => StatusCode::UNPROCESSABLE_ENTITY,
            (Self::Generation, Dialect::OpenAi | Dialect::Anthropic) => StatusCode::INTERNAL_SERVER_ERROR,
            (Self::Generation, Dialect::Native) => StatusCode::FAILED_DEPENDENCY,
        }
    }
}

/// An error as the outside sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// See [`Status`].
    pub status: Status,
    /// Stable, for programs.
    pub code: &'static str,
    /// The native routes' `error_type`.
    pub error_type: &'static str,
    /// The path of the field at fault.
    pub param: Option<String>,
    /// For a person.
    pub message: String,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

#[derive(Serialize)]
struct OpenAiBody<'a> {
    error: OpenAiError<'a>,
}

#[derive(Serialize)]
struct OpenAiError<'a> {
    message: &'a str,
    r#type: &'static str,
    param: Option<&'a str>,
    code: &'static str,
}

#[derive(Serialize)]
struct AnthropicBody<'a> {
    r#type: &'static str,
    error: AnthropicError<'a>,
}

#[derive(Serialize)]
struct AnthropicError<'a> {
    r#type: &'static str,
    message: &'a str,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    param: Option<&'a str>,
}

#[derive(Serialize)]
struct NativeBody<'a> {
    error: &'a str,
    error_type: &'static str,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    param: Option<&'a str>,
}

impl Problem {
    /// The JSON text, which is a body or the data of an SSE event.
    #[must_use]
    pub fn json(&self, dialect: Dialect) -> Vec<u8> {
        let param = self.param.as_deref();
        let text = match dialect {
            Dialect::OpenAi => serde_json::to_vec(&OpenAiBody {
                error: OpenAiError {
                    message: &self.message,
                    r#type: openai_type(self.status.on(dialect)),
                    param,
                    code: self.code,
                },
            }),
            Dialect::Anthropic => serde_json::to_vec(&AnthropicBody {
                r#type: "error",
                error: AnthropicError {
                    r#type: anthropic_type(self.status.on(dialect)),
                    message: &self.message,
                    code: self.code,
                    param,
                },
            }),
            Dialect::Native => {
                let prefix = if self.error_type == "validation" {
                    "Input validation error: "
                } else {
                    ""
                };
                serde_json::to_vec(&NativeBody {
                    error: &format!("{prefix}{}", self.message),
                    error_type: self.error_type,
                    code: self.code,
                    param,
                })
            }
        };
        // Strings and numbers alone: there is nothing that serialising could refuse.
        text.unwrap_or_default()
    }

    /// The whole answer.
    #[must_use]
    pub fn into_response(self, dialect: Dialect) -> Response {
        let mut response = (self.status.on(dialect), Body::from(self.json(dialect))).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(after)));
        } else if self.status == Status::Fixed(StatusCode::TOO_MANY_REQUESTS) {
            // Clients would send the same again, and it would never pass.
            headers.insert("x-should-retry", HeaderValue::from_static("false"));
        }
        if self.status == Status::Fixed(StatusCode::UNAUTHORIZED) {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

fn anthropic_type(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

fn openai_type(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        429 => "rate_limit_error",
        503 => "service_unavailable_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    }
}

/// Seconds for `Retry-After`, which has no fractions: rounded up, at least one.
pub(super) fn whole_seconds(duration: Duration) -> u64 {
    duration
        .as_millis()
        .div_ceil(1000)
        .max(1)
        .try_into()
        .unwrap_or(u64::MAX)
}
