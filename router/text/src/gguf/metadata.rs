//! The key-value pairs of a GGUF file, read by their kind.

use std::collections::HashMap;

use super::error::GgufError;
use super::value::Value;

/// The key-value pairs of a file.
#[derive(Debug, Default)]
pub struct Metadata {
    pub(super) pairs: HashMap<String, Value>,
}

impl Metadata {
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.pairs.get(key)
    }

    /// The text of `key`; an error when it is there and is not text.
    pub fn text(&self, key: &'static str) -> Result<Option<&str>, GgufError> {
        self.typed(key, "text", Value::as_str)
    }

    /// The number of `key`; an error when it is there and is not one of 32 bits.
    pub fn number(&self, key: &'static str) -> Result<Option<u32>, GgufError> {
        self.typed(key, "an integer from 0 to 4294967295", |value| {
            value.as_u64().and_then(|number| u32::try_from(number).ok())
        })
    }

    /// The flag of `key`; an error when it is there and is not a flag.
    pub fn flag(&self, key: &'static str) -> Result<Option<bool>, GgufError> {
        self.typed(key, "true or false", Value::as_bool)
    }

    /// The texts of `key`; an error when it is there and is not an array of text.
    pub fn texts(&self, key: &'static str) -> Result<Option<&[String]>, GgufError> {
        self.typed(key, "an array of text", Value::as_strings)
    }

    /// The integers of `key`; an error when it is there and is not an array of them.
    pub fn integers(&self, key: &'static str) -> Result<Option<&[i64]>, GgufError> {
        self.typed(key, "an array of integers", Value::as_integers)
    }

    /// The floats of `key`; an error when it is there and is not an array of them.
    pub fn floats(&self, key: &'static str) -> Result<Option<&[f32]>, GgufError> {
        self.typed(key, "an array of floats", Value::as_floats)
    }

    fn typed<'a, T>(
        &'a self,
        key: &'static str,
        expected: &'static str,
        convert: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, GgufError> {
        match self.pairs.get(key) {
            None => Ok(None),
            Some(value) => convert(value).map(Some).ok_or_else(|| GgufError::Field {
                key,
                expected,
                given: value.kind().to_owned(),
            }),
        }
    }
}
