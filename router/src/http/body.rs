//! A request's body: read within limits, checked once for what would hurt a parser, then parsed
//! with errors that name the field.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::http::error::ApiError;

/// Levels of brackets. A tool's JSON schema, the deepest thing in a real request, needs a few dozen.
const MAX_DEPTH: usize = 100;

/// How much of a body that is too large is read on and thrown away.
const MOST_DISCARDED_BYTES: usize = 16 << 20;

/// How much a body may cost.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Bytes.
    pub bytes: usize,
    /// From the first wait to the last byte.
    pub time: Duration,
}

/// UTF-8 text with no more brackets inside each other than any request needs.
#[derive(Clone, Debug)]
pub struct JsonBody {
    text: Bytes,
}

impl JsonBody {
    /// Reads and checks a body.
    ///
    /// # Errors
    /// When it is too large, too slow, incomplete, not JSON by its header, not UTF-8 or too deep.
    pub async fn read(headers: &HeaderMap, mut body: Body, limits: BodyLimits) -> Result<Self, ApiError> {
        check_content_type(headers)?;
        let too_large = ApiError::BodyTooLarge { limit: limits.bytes };
        if body.size_hint().lower() > limits.bytes as u64 {
            // A client that waits for a word before it sends is refused before it has sent.
            if !headers.contains_key(header::EXPECT) {
                discard(body, limits.time).await;
            }
            return Err(too_large);
        }
        let whole = Limited::new(&mut body, limits.bytes).collect();
        let text = match tokio::time::timeout(limits.time, whole).await {
            Err(_) => return Err(ApiError::BodyTimeout { limit: limits.time }),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                discard(body, limits.time).await;
                return Err(too_large);
            }
            Ok(Err(error)) => {
                return Err(ApiError::BodyIncomplete {
                    cause: error.to_string(),
                });
            }
            Ok(Ok(collected)) => collected.to_bytes(),
        };
        Self::new(text)
    }

    /// Checks a body that is there already.
    ///
    /// # Errors
    /// When it is not UTF-8 or too deep.
    pub fn new(text: Bytes) -> Result<Self, ApiError> {
        if let Err(error) = std::str::from_utf8(&text) {
            return Err(ApiError::NotUtf8 {
                offset: error.valid_up_to(),
            });
        }
        if deeper_than(&text, MAX_DEPTH) {
            return Err(ApiError::TooDeep { limit: MAX_DEPTH });
        }
        Ok(Self { text })
    }

    /// Bytes of the body.
    #[must_use]
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// The raw text.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Parses what `T` names; other fields pass.
    ///
    /// # Errors
    /// With the path of the field at fault.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        let mut deserializer = serde_json::Deserializer::from_slice(&self.text);
        let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
            let path = error.path().to_string();
            let param = if path == "." { None } else { Some(path) };
            explain(param, error.inner())
        })?;
        deserializer.end().map_err(|error| explain(None, &error))?;
        Ok(value)
    }
}

/// Reads on a little, keeping nothing. A client that is still writing when the connection closes
/// often loses the answer that says why.
async fn discard(mut body: Body, time: Duration) {
    let read = async {
        let mut left = MOST_DISCARDED_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(bytes) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    // Whether all of it came does not matter.
    let _ = tokio::time::timeout(time, read).await;
}

/// An absent header passes: it is what small programs forget.
fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let given = String::from_utf8_lossy(value.as_bytes());
    let essence = given
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let is_json =
        essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    if is_json {
        Ok(())
    } else {
        // A header may be long; its beginning says enough.
        Err(ApiError::ContentType {
            given: given.chars().take(100).collect(),
        })
    }
}

pub(super) fn explain(param: Option<String>, error: &serde_json::Error) -> ApiError {
    let message = error.to_string();
    if error.is_data() {
        // Line and column help nobody who is told the path.
        let message = message.split(" at line ").next().unwrap_or_default().to_owned();
        ApiError::WrongType { param, message }
    } else {
        ApiError::Syntax { param, message }
    }
}

/// Whether brackets nest deeper than `limit`, strings left out. One pass, no recursion.
fn deeper_than(text: &[u8], limit: usize) -> bool {
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => {
                bytes.next();
            }
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Example {
        #[allow(dead_code)]
        inner: Option<Inner>,
    }

    #[derive(Debug, Deserialize)]
    struct Inner {
        #[allow(dead_code)]
        values: Vec<f32>,
    }

    fn parse(text: &str) -> Result<Example, ApiError> {
        JsonBody::new(Bytes::copy_from_slice(text.as_bytes())).and_then(|body| body.parse())
    }

    #[test]
    fn a_wrong_type_is_named_by_its_path() {
        let error = parse(r#"{"inner":{"values":[1,"two"]}}"#).unwrap_err();
        assert_eq!(
            error,
            ApiError::WrongType {
                param: Some("inner.values[1]".to_owned()),
                message: "invalid type: string \"two\", expected f32".to_owned()
            }
        );
    }

    #[test]
    fn numbers_that_json_does_not_have_are_named_by_their_path() {
        for number in ["NaN", "1e400", "-", "+1", "Infinity"] {
            let error = parse(&format!(r#"{{"inner":{{"values":[{number}]}}}}"#)).unwrap_err();
            let ApiError::Syntax { param, .. } = error else {
                panic!("{number}: {error:?}")
            };
            assert_eq!(param.as_deref(), Some("inner.values[0]"), "{number}");
        }
    }

    #[test]
    fn what_is_not_one_object_is_refused() {
        for text in [
            "",
            " ",
            "[]",
            "7",
            "\"text\"",
            "null",
            "{",
            "{\"inner\":",
            "{} {}",
            "{}x",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("{}").is_ok());
        assert!(parse(r#"{"inner":null,"unknown":[{"a":1}]}"#).is_ok());
    }

    #[test]
    fn depth_is_bounded_before_any_parser_recurses() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let deep = format!(
                "{{\"unknown\":{}1{}}}",
                open.repeat(100_000),
                close.repeat(100_000)
            );
            assert_eq!(parse(&deep).unwrap_err(), ApiError::TooDeep { limit: MAX_DEPTH });
        }
        let strings = format!(r#"{{"unknown":"{} \" {}"}}"#, "[".repeat(1000), "{".repeat(1000));
        assert!(parse(&strings).is_ok());
        let wide = format!(r#"{{"unknown":[{}]}}"#, vec!["[]"; 1000].join(","));
        assert!(parse(&wide).is_ok());
    }

    #[test]
    fn text_that_is_not_utf8_is_refused_with_its_place() {
        let error = JsonBody::new(Bytes::from_static(b"{\"a\":\"\xff\"}")).unwrap_err();
        assert_eq!(error, ApiError::NotUtf8 { offset: 6 });
    }

    #[tokio::test]
    async fn a_body_is_read_within_its_limits() {
        let limits = BodyLimits {
            bytes: 4,
            time: Duration::from_secs(1),
        };
        let empty = HeaderMap::new();
        assert!(JsonBody::read(&empty, Body::from("1234"), limits).await.is_ok());
        let error = JsonBody::read(&empty, Body::from("12345"), limits)
            .await
            .unwrap_err();
        assert_eq!(error, ApiError::BodyTooLarge { limit: 4 });
        let unsized_body = Body::from_stream(futures_util::stream::iter([
            Ok::<_, std::io::Error>("123"),
            Ok("45"),
        ]));
        let error = JsonBody::read(&empty, unsized_body, limits).await.unwrap_err();
        assert_eq!(error, ApiError::BodyTooLarge { limit: 4 });
        let broken = Body::from_stream(futures_util::stream::iter([
            Ok("1"),
            Err(std::io::Error::other("connection reset")),
        ]));
        let error = JsonBody::read(&empty, broken, limits).await.unwrap_err();
        assert!(matches!(error, ApiError::BodyIncomplete { .. }), "{error:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_given_up() {
        let limits = BodyLimits {
            bytes: 4,
            time: Duration::from_secs(1),
        };
        let never = Body::from_stream(futures_util::stream::pending::<Result<&str, std::io::Error>>());
        let error = JsonBody::read(&HeaderMap::new(), never, limits)
            .await
            .unwrap_err();
        assert_eq!(error, ApiError::BodyTimeout { limit: limits.time });
    }

    #[test]
    fn only_json_is_read() {
        for (given, accepted) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/problem+json", true),
            ("text/plain", false),
            ("application/x-www-form-urlencoded", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, given.parse().unwrap())]);
            assert_eq!(check_content_type(&headers).is_ok(), accepted, "{given}");
        }
    }
}
