//! Fields that this kind of API knows and this server does not serve yet. They are refused by
//! name, never swallowed, unless their value asks for nothing.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::http::body::{JsonBody, explain};
use crate::http::error::ApiError;

/// A field, the values of it that ask for nothing, and what to do instead of others.
#[derive(Clone, Copy, Debug)]
pub struct Unbuilt {
    /// Its name in the body.
    pub field: &'static str,
    /// Which values pass; null always does.
    pub harmless: &'static [Harmless],
    /// What a client can do.
    pub fix: &'static str,
}

/// A value that asks for nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Harmless {
    /// `true` or `false`.
    Bool(bool),
    /// This number.
    Number(f64),
    /// This string.
    Text(&'static str),
    /// A list without entries.
    EmptyList,
    /// An object without fields.
    EmptyObject,
}

impl Unbuilt {
    /// A field whose every value but null is refused.
    #[must_use]
    pub const fn always(field: &'static str) -> Self {
        Self {
            field,
            harmless: &[],
            fix: "leave it out",
        }
    }

    /// A field of which some values ask for nothing.
    #[must_use]
    pub const fn unless(field: &'static str, harmless: &'static [Harmless]) -> Self {
        Self {
            field,
            harmless,
            fix: "leave it out",
        }
    }

    /// The same with better advice.
    #[must_use]
    pub const fn or(self, fix: &'static str) -> Self {
        Self { fix, ..self }
    }

    /// The error; `prefix` is the path of the object that holds the field.
    #[must_use]
    pub fn refusal(&self, prefix: &str) -> ApiError {
        ApiError::unsupported(format!("{prefix}{}", self.field), self.fix)
    }
}

/// Refuses a body that asks for something unbuilt.
///
/// # Errors
/// `Unsupported` with the first such field, or what is wrong with the JSON.
pub fn refuse_unbuilt(body: &JsonBody, table: &'static [Unbuilt]) -> Result<(), ApiError> {
    let mut deserializer = serde_json::Deserializer::from_slice(body.text());
    match (Scan { table })
        .deserialize(&mut deserializer)
        .map_err(|error| explain(None, &error))?
    {
        Some(unbuilt) => Err(unbuilt.refusal("")),
        None => Ok(()),
    }
}

struct Scan {
    table: &'static [Unbuilt],
}

impl<'de> DeserializeSeed<'de> for Scan {
    type Value = Option<Unbuilt>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Scan {
    type Value = Option<Unbuilt>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            match self.table.iter().find(|unbuilt| unbuilt.field == key) {
                Some(unbuilt) => {
                    let given: Given = map.next_value()?;
                    if !given.passes(unbuilt.harmless) {
                        found = found.or(Some(*unbuilt));
                    }
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }
}

/// As much of a value as `Harmless` asks about, so that nothing large is kept.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    /// null
    Null,
    /// true, false
    Bool(bool),
    /// Any number.
    Number(f64),
    /// Any string.
    Text(String),
    /// A list.
    List {
        /// Whether it has no entries.
        empty: bool,
    },
    /// An object.
    Object {
        /// Whether it has no fields.
        empty: bool,
    },
}

impl Given {
    /// Whether it asks for nothing.
    #[must_use]
    pub fn passes(&self, harmless: &[Harmless]) -> bool {
        *self == Self::Null || harmless.iter().any(|value| self.is(*value))
    }

    #[allow(clippy::float_cmp)]
    fn is(&self, harmless: Harmless) -> bool {
        match (self, harmless) {
            (Self::Bool(given), Harmless::Bool(value)) => *given == value,
            (Self::Number(given), Harmless::Number(value)) => *given == value,
            (Self::Text(given), Harmless::Text(value)) => given == value,
            (Self::List { empty }, Harmless::EmptyList) => *empty,
            (Self::Object { empty }, Harmless::EmptyObject) => *empty,
            _ => false,
        }
    }
}

impl<'de> serde::Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(GivenVisitor)
    }
}

struct GivenVisitor;

impl<'de> Visitor<'de> for GivenVisitor {
    type Value = Given;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Given, E> {
        Ok(Given::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Given, E> {
        Ok(Given::Bool(value))
    }

    #[allow(clippy::cast_precision_loss)]
    fn visit_i64<E>(self, value: i64) -> Result<Given, E> {
        Ok(Given::Number(value as f64))
    }

    #[allow(clippy::cast_precision_loss)]
    fn visit_u64<E>(self, value: u64) -> Result<Given, E> {
        Ok(Given::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Given, E> {
        Ok(Given::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Given, E> {
        Ok(Given::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Given, A::Error> {
        let mut empty = true;
        while seq.next_element::<IgnoredAny>()?.is_some() {
            empty = false;
        }
        Ok(Given::List { empty })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Given, A::Error> {
        let mut empty = true;
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            empty = false;
        }
        Ok(Given::Object { empty })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const TABLE: &[Unbuilt] = &[
        Unbuilt::always("tools"),
        Unbuilt::unless("best_of", &[Harmless::Number(1.0)]),
        Unbuilt::unless("watermark", &[Harmless::Bool(false)]),
        Unbuilt::unless("suffix", &[Harmless::Text("")]),
        Unbuilt::unless("documents", &[Harmless::EmptyList, Harmless::EmptyObject]),
    ];

    fn refused(text: &str) -> Option<String> {
        let body = JsonBody::new(Bytes::copy_from_slice(text.as_bytes())).unwrap();
        match refuse_unbuilt(&body, TABLE) {
            Ok(()) => None,
            Err(ApiError::Unsupported { param, .. }) => Some(param),
            Err(error) => panic!("{error:?}"),
        }
    }

    #[test]
    fn values_that_ask_for_nothing_pass() {
        for text in [
            "{}",
            r#"{"tools":null,"other":[1,{"tools":[1]}]}"#,
            r#"{"best_of":1,"watermark":false,"suffix":""}"#,
            r#"{"documents":[]}"#,
            r#"{"documents":{}}"#,
        ] {
            assert_eq!(refused(text), None, "{text}");
        }
    }

    #[test]
    fn values_that_ask_for_something_are_named() {
        for (text, field) in [
            (r#"{"tools":[]}"#, "tools"),
            (r#"{"tools":[{"type":"function"}],"best_of":2}"#, "tools"),
            (r#"{"best_of":2}"#, "best_of"),
            (r#"{"watermark":true}"#, "watermark"),
            (r#"{"suffix":" end"}"#, "suffix"),
            (r#"{"documents":[1]}"#, "documents"),
        ] {
            assert_eq!(refused(text).as_deref(), Some(field), "{text}");
        }
    }
}
