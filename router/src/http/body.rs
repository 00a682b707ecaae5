//! A request's body: checked once for what would hurt a parser, then parsed with errors that name
//! the field.

use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use tokio::sync::OwnedSemaphorePermit;

use crate::http::error::ApiError;

/// Levels of brackets. A tool's JSON schema, the deepest thing in a real request, needs a few dozen.
const MAX_DEPTH: usize = 100;

/// Fields of the outermost object. Real requests have a few dozen; each is looked up in every table of names.
const MAX_FIELDS: usize = 1024;

/// UTF-8 text with no more brackets inside each other than any request needs.
#[derive(Clone, Debug)]
pub struct JsonBody {
    text: Bytes,
    /// Of the memory for all bodies.
    _room: Option<Arc<OwnedSemaphorePermit>>,
}

impl JsonBody {
    /// Checks a body that is there already.
    ///
    /// # Errors
    /// When it is not UTF-8, too deep or too wide.
    pub fn new(text: Bytes) -> Result<Self, ApiError> {
        if let Err(error) = std::str::from_utf8(&text) {
            return Err(ApiError::NotUtf8 {
                offset: error.valid_up_to(),
            });
        }
        check_shape(&text)?;
        Ok(Self { text, _room: None })
    }

    /// The same body, holding the room it takes until it is dropped.
    #[must_use]
    pub fn holding(self, room: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            _room: room.map(Arc::new),
            ..self
        }
    }

    /// Bytes of the body.
    #[must_use]
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// The raw text, for another owner.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.text.clone()
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

/// Checks how deep brackets nest and how many fields the outermost object has, strings left out. One
/// pass, no recursion.
fn check_shape(text: &[u8]) -> Result<(), ApiError> {
    let (mut depth, mut fields) = (0_usize, 0_usize);
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
                if depth > MAX_DEPTH {
                    return Err(ApiError::TooDeep { limit: MAX_DEPTH });
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            b':' if !in_string && depth == 1 => {
                fields += 1;
                if fields > MAX_FIELDS {
                    return Err(ApiError::TooManyFields { limit: MAX_FIELDS });
                }
            }
            _ => {}
        }
    }
    Ok(())
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
    fn fields_are_counted_before_any_is_looked_up() {
        let fields = |count: usize| {
            let fields: Vec<String> = (0..count)
                .map(|number| format!("\"{number}:\":{{\"a\":1}}"))
                .collect();
            format!("{{{}}}", fields.join(","))
        };
        assert!(parse(&fields(MAX_FIELDS)).is_ok());
        assert_eq!(
            parse(&fields(MAX_FIELDS + 1)).unwrap_err(),
            ApiError::TooManyFields { limit: MAX_FIELDS }
        );
    }

    #[test]
    fn text_that_is_not_utf8_is_refused_with_its_place() {
        let error = JsonBody::new(Bytes::from_static(b"{\"a\":\"\xff\"}")).unwrap_err();
        assert_eq!(error, ApiError::NotUtf8 { offset: 6 });
    }
}
