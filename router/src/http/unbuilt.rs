//! Fields that this kind of API knows and this server does not serve yet. They are refused by
//! name, never swallowed, unless their value asks for nothing.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

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
    /// A list with no entries but these strings.
    TextsAmong(&'static [&'static str]),
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
        /// Its entries, when they are a few strings.
        texts: Option<Vec<String>>,
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
            (Self::List { texts: Some(texts) }, Harmless::EmptyList) => texts.is_empty(),
            (Self::List { texts: Some(texts) }, Harmless::TextsAmong(all)) => {
                texts.iter().all(|text| all.contains(&text.as_str()))
            }
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

impl JsonSchema for Given {
    fn schema_name() -> Cow<'static, str> {
        "Given".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({})
    }
}

/// Entries of a list that are looked at.
const MOST_ENTRIES: usize = 16;

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
        let mut texts = Some(Vec::new());
        while let Some(entry) = seq.next_element::<Given>()? {
            texts = match (texts, entry) {
                (Some(mut texts), Given::Text(text)) if texts.len() < MOST_ENTRIES => {
                    texts.push(text);
                    Some(texts)
                }
                _ => None,
            };
        }
        Ok(Given::List { texts })
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
    use super::*;

    fn passes(text: &str, harmless: &[Harmless]) -> bool {
        serde_json::from_str::<Given>(text).unwrap().passes(harmless)
    }

    #[test]
    fn values_that_ask_for_nothing_pass() {
        for (text, harmless) in [
            ("null", &[][..]),
            ("1", &[Harmless::Number(1.0)]),
            ("false", &[Harmless::Bool(false)]),
            (r#""""#, &[Harmless::Text("")]),
            ("[]", &[Harmless::EmptyList, Harmless::EmptyObject]),
            ("{}", &[Harmless::EmptyList, Harmless::EmptyObject]),
            (r#"["a", "a"]"#, &[Harmless::TextsAmong(&["a", "b"])]),
            ("[]", &[Harmless::TextsAmong(&["a"])]),
        ] {
            assert!(passes(text, harmless), "{text}");
        }
    }

    #[test]
    fn values_that_ask_for_something_do_not() {
        for (text, harmless) in [
            ("[]", &[][..]),
            ("2", &[Harmless::Number(1.0)]),
            ("true", &[Harmless::Bool(false)]),
            (r#"" end""#, &[Harmless::Text("")]),
            ("[1]", &[Harmless::EmptyList]),
            (r#"["a"]"#, &[Harmless::EmptyList]),
            (r#"["a", "c"]"#, &[Harmless::TextsAmong(&["a", "b"])]),
            (r#"["a", 1]"#, &[Harmless::TextsAmong(&["a"])]),
            (r#"["a", ["a"], {"a": []}]"#, &[Harmless::TextsAmong(&["a"])]),
        ] {
            assert!(!passes(text, harmless), "{text}");
        }
    }
}
