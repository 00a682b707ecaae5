//! A structure as an expression of a larger grammar.
//!
//! What a whole answer must look like goes to the shard as it is. Where something may come before it
//! or in its place, it becomes part of a grammar in Lark's notation, and means the same there.

use serde_json::{Value, json};

use crate::http::structure::Structure;

/// What stands between the parts of JSON: a new line with its indentation, or some spaces; not
/// whitespace for ever, which small models are fond of. The shard puts the same into a schema that
/// comes alone.
const WHITESPACE: &str = r"\r?\n[\x20\x09]{0,40}|[\x20\x09]{1,8}";

impl Structure {
    /// An expression that matches what the structure does.
    #[must_use]
    pub fn expression(&self) -> String {
        match self {
            Self::JsonSchema(schema) => match serde_json::from_str(schema) {
                Ok(schema) => json_expression(schema),
                // It was written by a serialiser, and is refused by the shard if it is none after all.
                Err(_) => format!("%json {schema}"),
            },
            Self::JsonObject => json_expression(json!({"type": "object"})),
            Self::Regex(regex) => format!("/{}/", regex_in_lark(regex)),
            Self::Choice(texts) => {
                let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
                format!("({})", texts.join(" | "))
            }
            Self::Lark(source) => format!("%lark {{\n{source}\n}}"),
        }
    }
}

/// JSON that a schema allows, with bounded whitespace unless the schema says itself what there may be.
#[must_use]
pub fn json_expression(schema: Value) -> String {
    let mut schema = match schema {
        Value::Bool(true) => json!({}),
        Value::Bool(false) => json!({"not": {}}),
        other => other,
    };
    if let Value::Object(fields) = &mut schema {
        fields
            .entry("x-guidance")
            .or_insert_with(|| json!({"whitespace_pattern": WHITESPACE}));
    }
    format!("%json {schema}")
}

/// A text as it is. Lark writes its strings as JSON does.
#[must_use]
pub fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// A regular expression between slashes; digits and the like are those of ASCII, as in a regular
/// expression that comes alone.
fn regex_in_lark(regex: &str) -> String {
    let mut written = String::with_capacity(regex.len() + 8);
    let mut characters = regex.chars();
    while let Some(character) = characters.next() {
        match character {
            '/' => written.push_str("\\/"),
            '\n' => written.push_str("\\n"),
            '\r' => written.push_str("\\r"),
            '\\' => match characters.next() {
                Some('/') => written.push_str("\\/"),
                Some('d') => written.push_str("[0-9]"),
                Some('D') => written.push_str("[^0-9]"),
                Some('w') => written.push_str("[0-9A-Za-z_]"),
                Some('W') => written.push_str("[^0-9A-Za-z_]"),
                Some('s') => written.push_str(r"[\t\n\x0B\x0C\r\x20]"),
                Some('S') => written.push_str(r"[^\t\n\x0B\x0C\r\x20]"),
                Some(other) => written.extend(['\\', other]),
                None => written.push('\\'),
            },
            other => written.push(other),
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_structure_is_an_expression() {
        let structures = [
            Structure::JsonSchema(r#"{"type":"integer"}"#.to_owned()),
            Structure::JsonSchema("true".to_owned()),
            Structure::JsonSchema("false".to_owned()),
            Structure::JsonSchema(r#"{"x-guidance":{"whitespace_flexible":false}}"#.to_owned()),
            Structure::JsonObject,
            Structure::Regex("a/b\\/c\n\\d+\\S\\.\\\\d".to_owned()),
            Structure::Choice(vec!["yes".to_owned(), "\"no\"".to_owned()]),
            Structure::Lark("start: \"a\"".to_owned()),
        ];
        let written: Vec<String> = structures.iter().map(Structure::expression).collect();
        insta::assert_snapshot!(written.join("\n"));
    }
}
