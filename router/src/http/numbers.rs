//! Numbers as clients send them: `1` where a fraction is meant, `1.0` where an integer is, and
//! values beyond every limit, which the validation refuses by name and not the parser.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// Any integer of JSON. Beyond 64 bits it is the nearest fraction's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Integer(pub i128);

/// Any number of JSON; always finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number(pub f64);

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IntegerVisitor)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor)
    }
}

impl JsonSchema for Integer {
    fn schema_name() -> Cow<'static, str> {
        "Integer".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer"})
    }
}

impl JsonSchema for Number {
    fn schema_name() -> Cow<'static, str> {
        "Number".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "number"})
    }
}

struct IntegerVisitor;

impl Visitor<'_> for IntegerVisitor {
    type Value = Integer;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer")
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Integer, E> {
        Ok(Integer(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Integer, E> {
        Ok(Integer(value.into()))
    }

    #[allow(clippy::cast_possible_truncation)]
    fn visit_f64<E: Error>(self, value: f64) -> Result<Integer, E> {
        if value.fract() == 0.0 {
            // A cast of a float saturates, and any value this large is refused by its limit.
            Ok(Integer(value as i128))
        } else {
            Err(E::invalid_type(Unexpected::Float(value), &self))
        }
    }
}

struct NumberVisitor;

impl Visitor<'_> for NumberVisitor {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    #[allow(clippy::cast_precision_loss)]
    fn visit_i64<E: Error>(self, value: i64) -> Result<Number, E> {
        Ok(Number(value as f64))
    }

    #[allow(clippy::cast_precision_loss)]
    fn visit_u64<E: Error>(self, value: u64) -> Result<Number, E> {
        Ok(Number(value as f64))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Number, E> {
        if value.is_finite() {
            Ok(Number(value))
        } else {
            Err(E::invalid_value(Unexpected::Float(value), &self))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_taken_in_every_spelling() {
        for (text, value) in [
            ("7", 7),
            ("7.0", 7),
            ("-1", -1),
            ("18446744073709551615", u64::MAX.into()),
            ("-0", 0),
            ("1e3", 1000),
        ] {
            assert_eq!(
                serde_json::from_str::<Integer>(text).ok(),
                Some(Integer(value)),
                "{text}"
            );
        }
        let huge = serde_json::from_str::<Integer>("18446744073709551616").map(|integer| integer.0);
        assert_eq!(huge.ok(), Some(1 << 64));
        for text in ["7.5", "\"7\"", "true", "[7]", "1e400", "NaN"] {
            assert!(serde_json::from_str::<Integer>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_are_finite() {
        assert_eq!(serde_json::from_str::<Number>("1").ok(), Some(Number(1.0)));
        assert_eq!(serde_json::from_str::<Number>("-0").ok(), Some(Number(0.0)));
        for text in ["1e400", "NaN", "Infinity", "\"1\"", "null", "{}"] {
            assert!(serde_json::from_str::<Number>(text).is_err(), "{text}");
        }
    }
}
