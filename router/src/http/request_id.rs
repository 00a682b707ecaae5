//! The id of a request: in the answer's own id, in its header, and in the log.

use std::sync::Arc;

use axum::extract::Request;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::http::error::ApiError;
use crate::http::error::Rule;
use crate::http::ids::Ids;

/// Read from the request, written to every answer.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id that a client may choose.
const MOST_BYTES: usize = 256;

/// Visible ASCII, short enough for a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId {
    text: Arc<str>,
    /// Whether a header gave it.
    given: bool,
}

impl RequestId {
    /// Of the header, or a new one.
    ///
    /// # Errors
    /// When the header's value cannot be an id.
    pub fn of_headers(headers: &HeaderMap, ids: &Ids) -> Result<Self, ApiError> {
        match headers.get(&HEADER) {
            Some(value) => check(HEADER.as_str(), value.as_bytes()).map(|text| Self { text, given: true }),
            None => Ok(Self::new(ids)),
        }
    }

    fn new(ids: &Ids) -> Self {
        Self {
            text: ids.text().into(),
            given: false,
        }
    }

    /// What the layer around all routes found, or a new one.
    pub fn of(request: &Request, ids: &Ids) -> Self {
        let found = request.extensions().get::<Self>();
        found.cloned().unwrap_or_else(|| Self::new(ids))
    }

    /// The same, or that of the body's field when no header gave one.
    #[must_use]
    pub fn or(self, field: Option<Arc<str>>) -> Self {
        match field {
            Some(text) if !self.given => Self { text, given: true },
            _ => self,
        }
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Writes it to an answer, unless a route wrote another one.
    pub fn put(&self, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::from_str(&self.text) {
            headers.entry(HEADER).or_insert(value);
        }
    }
}

/// The id of the body's field `request_id`.
///
/// # Errors
/// When it cannot be one.
pub fn field(given: Option<&str>) -> Result<Option<Arc<str>>, ApiError> {
    given.map(|text| check("request_id", text.as_bytes())).transpose()
}

fn check(param: &str, given: &[u8]) -> Result<Arc<str>, ApiError> {
    let visible = given.iter().all(u8::is_ascii_graphic);
    if given.is_empty() || given.len() > MOST_BYTES || !visible {
        let message = format!(
            "`{param}` must be 1 to {MOST_BYTES} visible ASCII characters without spaces. Given: {} bytes",
            given.len()
        );
        return Err(ApiError::invalid(param, Rule::Value, message));
    }
    Ok(String::from_utf8_lossy(given).into())
}
