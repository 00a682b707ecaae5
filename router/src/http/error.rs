//! The one place that maps what can go wrong to what a client sees.
//!
//! Every error has a status, a stable `code`, a message that names the limit, the given value and
//! the fix, and, where a field is at fault, its path as `param`. The native routes answer in the
//! shape `{"error", "error_type"}`, `/v1/*` in the shape `{"error": {"message", …}}`.

use std::time::Duration;

use axum::response::Response;
use http::StatusCode;

use crate::access::{Kind, Refusal};
use crate::engine::api::{EngineState, Finish, GrammarError, SubmitError};
use crate::http::problem::{Dialect, Problem, Status, whole_seconds};

/// A compilation takes milliseconds.
const COMPILER_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Bodies arrive within moments.
const NO_ROOM_RETRY_AFTER: Duration = Duration::from_secs(1);

/// What can go wrong between a request's first byte and its answer's last.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The body is longer than `--payload-limit`.
    #[error("The body is longer than {limit} bytes (--payload-limit); send a shorter one.")]
    BodyTooLarge {
        /// Bytes.
        limit: usize,
    },
    /// The body did not arrive in time.
    #[error("The body did not arrive within {} seconds; send it in one go.", limit.as_secs())]
    BodyTimeout {
        /// The most it may take.
        limit: Duration,
    },
    /// The connection broke while the body was read.
    #[error("The body ended early: {cause}")]
    BodyIncomplete {
        /// What the transport said.
        cause: String,
    },
    /// Not JSON by its header.
    #[error("The content type must be `application/json`. Given: `{given}`")]
    ContentType {
        /// The header's value.
        given: String,
    },
    /// Compressed.
    #[error("The body must not be compressed (no `Content-Encoding`). Given: `{given}`")]
    ContentEncoding {
        /// The header's value.
        given: String,
    },
    /// More bytes of requests arrive at once than the server takes.
    #[error("Too many large requests arrive at once: at most {limit} bytes together; try again.")]
    NoRoom {
        /// Bytes.
        limit: usize,
    },
    /// Not UTF-8.
    #[error("The body must be UTF-8; byte {offset} is not. Encode it as UTF-8.")]
    NotUtf8 {
        /// Of the first wrong byte.
        offset: usize,
    },
    /// More brackets than any request needs.
    #[error("The body is nested deeper than {limit} levels; send a flatter one.")]
    TooDeep {
        /// Levels.
        limit: usize,
    },
    /// More fields than any request needs.
    #[error("The body has more than {limit} fields; leave out those that mean nothing.")]
    TooManyFields {
        /// Fields of the outermost object.
        limit: usize,
    },
    /// Not JSON.
    #[error("The body is not valid JSON{}: {message}", at(param))]
    Syntax {
        /// The path up to which the body could be read.
        param: Option<String>,
        /// What the parser said, with line and column.
        message: String,
    },
    /// JSON of the wrong type.
    #[error("{}{message}", field(param))]
    WrongType {
        /// The field's path; none when the body itself is meant.
        param: Option<String>,
        /// What was given and what is expected.
        message: String,
    },
    /// A field breaks a rule.
    #[error("{message}")]
    Invalid {
        /// The field's path.
        param: String,
        /// Which kind of rule.
        rule: Rule,
        /// The rule, the limit and the given value.
        message: String,
    },
    /// A field that is known and not served.
    #[error("`{param}` is not supported; {fix}.")]
    Unsupported {
        /// The field's path.
        param: String,
        /// What to do instead.
        fix: String,
    },
    /// The prompt, or the prompt with what is to be generated, does not fit.
    #[error("{message}")]
    TooLong {
        /// The field to shorten.
        param: &'static str,
        /// Both counts and the limit.
        message: String,
    },
    /// `model` names nothing that is served.
    #[error("The model `{model}` does not exist.")]
    UnknownModel {
        /// As given.
        model: String,
    },
    /// No key, or another one.
    #[error("{}", if *given { "The API key is wrong." } else { "An API key is needed: send the header `Authorization: Bearer KEY` (or `x-api-key: KEY`)." })]
    Unauthorized {
        /// Whether a key was sent.
        given: bool,
    },
    /// No such route.
    #[error("There is no `{path}` here.")]
    UnknownRoute {
        /// As asked for.
        path: String,
    },
    /// The route knows another method.
    #[error("`{path}` does not take {method}.")]
    Method {
        /// As asked for.
        path: String,
        /// As asked for.
        method: String,
    },
    /// The key's own limits are met.
    #[error("{}", rate_limited(_0))]
    RateLimited(Refusal),
    /// As many requests as the server takes are here already.
    #[error("Model is overloaded: at most {limit} requests at once (--max-concurrent-requests); try again in {} s.", whole_seconds(*retry_after))]
    Overloaded {
        /// `--max-concurrent-requests`.
        limit: u32,
        /// When room is expected.
        retry_after: Duration,
    },
    /// As many grammars as may wait for their compilation are waiting.
    #[error("Too many grammars are being compiled; try again in {} s.", whole_seconds(*retry_after))]
    CompilerBusy {
        /// When room is expected.
        retry_after: Duration,
    },
    /// The model does not serve now.
    #[error("{}", not_ready(state))]
    NotReady {
        /// Why.
        state: EngineState,
    },
    /// The chat template refused the messages.
    #[error("Template error: {message}")]
    Template {
        /// What the template said.
        message: String,
    },
    /// The model could not go on.
    #[error("Request failed during generation: {cause}")]
    Generation {
        /// One sentence.
        cause: String,
    },
    /// The stream ended without its end.
    #[error("Incomplete generation: {cause}")]
    Incomplete {
        /// One sentence.
        cause: String,
    },
    /// A fault of the server's own.
    #[error("Internal error: {cause}")]
    Internal {
        /// One sentence without paths or secrets.
        cause: String,
    },
}

/// Which kind of rule a field breaks; the stable part of a validation error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The field is needed.
    Missing,
    /// Outside of its limits.
    Range,
    /// Too many entries, or too few.
    Count,
    /// Not one of the possible values.
    Value,
    /// At odds with another field.
    Conflict,
    /// A token id outside of the vocabulary.
    Vocabulary,
    /// A grammar or schema with a mistake, or with something that is not supported.
    Grammar,
    /// A grammar or schema that no text matches.
    Unsatisfiable,
    /// A grammar or schema that would cost too much to follow.
    GrammarTooComplex,
}

impl Rule {
    fn code(self) -> &'static str {
        match self {
            Self::Missing => "missing_required_parameter",
            Self::Range => "out_of_range",
            Self::Count => "invalid_count",
            Self::Value => "invalid_value",
            Self::Conflict => "conflicting_parameters",
            Self::Vocabulary => "token_out_of_vocabulary",
            Self::Grammar => "invalid_grammar",
            Self::Unsatisfiable => "unsatisfiable_grammar",
            Self::GrammarTooComplex => "grammar_too_complex",
        }
    }
}

impl ApiError {
    /// A field that breaks a rule.
    pub fn invalid(param: impl Into<String>, rule: Rule, message: impl Into<String>) -> Self {
        Self::Invalid {
            param: param.into(),
            rule,
            message: message.into(),
        }
    }

    /// A field that is needed and absent.
    pub fn missing(param: &str) -> Self {
        Self::invalid(param, Rule::Missing, format!("`{param}` is required"))
    }

    /// A field that is known and not served.
    pub fn unsupported(param: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::Unsupported {
            param: param.into(),
            fix: fix.into(),
        }
    }

    /// A structure that cannot be followed. `param`: the field that asked for it.
    pub fn grammar(param: &'static str, error: GrammarError) -> Self {
        let (rule, message) = match error {
            GrammarError::Unsupported => {
                return Self::unsupported(param, "this model's server follows no grammars; leave it out");
            }
            GrammarError::Busy => {
                return Self::CompilerBusy {
                    retry_after: COMPILER_RETRY_AFTER,
                };
            }
            GrammarError::NotReady { state } => return Self::NotReady { state },
            GrammarError::Invalid { message } => (Rule::Grammar, message),
            GrammarError::Unsatisfiable { message } => (Rule::Unsatisfiable, message),
            GrammarError::TooComplex { message } => (Rule::GrammarTooComplex, message),
        };
        Self::invalid(param, rule, format!("`{param}` cannot be followed: {message}"))
    }

    /// What the end of a sequence means when it is not a proper one.
    #[must_use]
    pub fn of_finish(finish: &Finish) -> Option<Self> {
        match finish {
            Finish::Stop(_) | Finish::Length => None,
            Finish::Cancelled => Some(Self::Incomplete {
                cause: "the server is shutting down; send it again".to_owned(),
            }),
            Finish::DeadlineExceeded => Some(Self::Incomplete {
                cause: "it waited too long; send it again later".to_owned(),
            }),
            Finish::InvalidLogits => Some(Self::Generation {
                cause: "the model gave no usable distribution (NaN) for this prompt".to_owned(),
            }),
            Finish::Grammar => Some(Self::Generation {
                cause: "its grammar became too complex to follow or allowed no further token".to_owned(),
            }),
            Finish::ShardLost { cause } => Some(Self::Generation {
                cause: format!("the model's process was lost ({cause}); send it again"),
            }),
        }
    }

    /// What the outside sees.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let (status, code, error_type) = self.mapping();
        let param = match self {
            Self::Syntax { param, .. } | Self::WrongType { param, .. } => param.clone(),
            Self::Invalid { param, .. } | Self::Unsupported { param, .. } => Some(param.clone()),
            Self::TooLong { param, .. } => Some((*param).to_owned()),
            Self::UnknownModel { .. } => Some("model".to_owned()),
            Self::Template { .. } => Some("messages".to_owned()),
            _ => None,
        };
        let retry_after = match self {
            Self::Overloaded { retry_after, .. } | Self::CompilerBusy { retry_after } => Some(*retry_after),
            Self::NoRoom { .. } => Some(NO_ROOM_RETRY_AFTER),
            Self::RateLimited(refusal) => refusal.retry_after,
            _ => None,
        };
        Problem {
            status,
            code,
            error_type,
            param,
            message: self.to_string(),
            retry_after,
        }
    }

    /// Status, stable code, and the native routes' `error_type`.
    fn mapping(&self) -> (Status, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::BodyTooLarge { .. } => (S::PAYLOAD_TOO_LARGE.into(), "body_too_large", "validation"),
            Self::BodyTimeout { .. } => (S::REQUEST_TIMEOUT.into(), "body_timeout", "validation"),
            Self::BodyIncomplete { .. } => (S::BAD_REQUEST.into(), "body_incomplete", "validation"),
            Self::ContentType { .. } => (
                S::UNSUPPORTED_MEDIA_TYPE.into(),
                "unsupported_content_type",
                "validation",
            ),
            Self::ContentEncoding { .. } => (
                S::UNSUPPORTED_MEDIA_TYPE.into(),
                "unsupported_content_encoding",
                "validation",
            ),
            Self::NoRoom { .. } => (S::TOO_MANY_REQUESTS.into(), "overloaded", "overloaded"),
            Self::NotUtf8 { .. } => (S::BAD_REQUEST.into(), "invalid_utf8", "validation"),
            Self::TooDeep { .. } => (S::BAD_REQUEST.into(), "json_too_deep", "validation"),
            Self::TooManyFields { .. } => (S::BAD_REQUEST.into(), "too_many_fields", "validation"),
            Self::Syntax { .. } => (S::BAD_REQUEST.into(), "invalid_json", "validation"),
            Self::WrongType { .. } => (Status::Validation, "invalid_type", "validation"),
            Self::Invalid { rule, .. } => (Status::Validation, rule.code(), "validation"),
            Self::Unsupported { .. } => (Status::Validation, "unsupported_parameter", "validation"),
            Self::TooLong { .. } => (Status::Validation, "context_length_exceeded", "validation"),
            Self::UnknownModel { .. } => (S::NOT_FOUND.into(), "model_not_found", "validation"),
            Self::Unauthorized { .. } => (S::UNAUTHORIZED.into(), "invalid_api_key", "authentication"),
            Self::UnknownRoute { .. } => (S::NOT_FOUND.into(), "unknown_route", "not_found"),
            Self::Method { .. } => (
                S::METHOD_NOT_ALLOWED.into(),
                "method_not_allowed",
                "method_not_allowed",
            ),
            Self::Overloaded { .. } | Self::CompilerBusy { .. } => {
                (S::TOO_MANY_REQUESTS.into(), "overloaded", "overloaded")
            }
            // Native clients wait and try again on this type alone.
            Self::RateLimited(_) => (S::TOO_MANY_REQUESTS.into(), "rate_limit_exceeded", "overloaded"),
            Self::NotReady { .. } => (S::SERVICE_UNAVAILABLE.into(), "not_ready", "unavailable"),
            Self::Template { .. } => (Status::Validation, "template_error", "template_error"),
            Self::Generation { .. } => (Status::Generation, "generation_failed", "generation"),
            Self::Incomplete { .. } => (
                S::INTERNAL_SERVER_ERROR.into(),
                "incomplete_generation",
                "incomplete_generation",
            ),
            Self::Internal { .. } => (S::INTERNAL_SERVER_ERROR.into(), "internal_error", "internal"),
        }
    }

    /// The whole answer.
    #[must_use]
    pub fn respond(&self, dialect: Dialect) -> Response {
        self.problem().into_response(dialect)
    }
}

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Overloaded { limit, retry_after } => Self::Overloaded { limit, retry_after },
            SubmitError::TooLong { tokens, limit } => Self::TooLong {
                param: "max_tokens",
                message: format!(
                    "The prompt has {tokens} tokens and at most {limit} fit; send a shorter prompt."
                ),
            },
            // The validation lets nothing of this kind pass, so it is no fault of the client's.
            SubmitError::Malformed { field, reason } => Self::Internal {
                cause: format!("{field}: {reason}"),
            },
            SubmitError::NotReady { state } => Self::NotReady { state },
        }
    }
}

fn rate_limited(refusal: &Refusal) -> String {
    let Refusal {
        kind,
        limit,
        wanted,
        retry_after,
    } = refusal;
    let again = retry_after.map_or_else(String::new, |wait| {
        format!("; try again in {} s.", whole_seconds(wait))
    });
    match (kind, retry_after) {
        (Kind::Requests, _) => {
            format!("Rate limit reached: this API key may send {limit} requests a minute{again}")
        }
        (Kind::Tokens, Some(_)) => {
            format!("Rate limit reached: this API key may use {limit} tokens a minute{again}")
        }
        (Kind::Tokens, None) => format!(
            "This request may need {wanted} tokens, and its API key may use {limit} a minute; shorten the prompt or \
             lower `max_tokens`."
        ),
        (Kind::Concurrent, _) => {
            format!("Rate limit reached: this API key may run {limit} requests at once{again}")
        }
    }
}

fn at(param: &Option<String>) -> String {
    param
        .as_ref()
        .map_or_else(String::new, |path| format!(" at `{path}`"))
}

fn field(param: &Option<String>) -> String {
    param
        .as_ref()
        .map_or_else(|| "The body: ".to_owned(), |path| format!("`{path}`: "))
}

fn not_ready(state: &EngineState) -> String {
    match state {
        EngineState::Starting { phase, message } if message.is_empty() => {
            format!("The model is not ready yet (phase `{phase}`); see /health.")
        }
        EngineState::Starting { phase, message } => {
            format!("The model is not ready yet (phase `{phase}`: {message}); see /health.")
        }
        EngineState::Ready => "The model is not ready; try again.".to_owned(),
        EngineState::Recovering { cause, .. } => format!("The model is restarting: {cause}; try again."),
        EngineState::Draining => "The server is shutting down; send it to another one.".to_owned(),
        EngineState::Failed { cause } => format!("The model failed: {cause}"),
    }
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
