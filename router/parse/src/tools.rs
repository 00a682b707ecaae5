//! The tools that a model was told of, as far as parsers ask.

use std::collections::HashMap;

use serde_json::Value;

/// Names of tools and the JSON schemas of their arguments.
#[derive(Clone, Debug, Default)]
pub struct ToolSet {
    tools: HashMap<String, Value>,
}

/// What a parameter's schema says of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text and nothing else.
    Text,
    /// JSON that is no text.
    Json,
    /// Either, or not known.
    Open,
}

impl ToolSet {
    /// Of names and schemas.
    #[must_use]
    pub fn new(tools: impl IntoIterator<Item = (String, Value)>) -> Self {
        Self {
            tools: tools.into_iter().collect(),
        }
    }

    /// Whether there is a tool of this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.tools.contains_key(name)
    }

    /// What a parameter of a tool may be.
    pub(crate) fn kind(&self, tool: &str, parameter: &str) -> Kind {
        self.tools
            .get(tool)
            .and_then(|schema| schema.get("properties")?.get(parameter))
            .map_or(Kind::Open, |schema| kind(schema, 0))
    }
}

/// Schemas within schemas that are looked at.
const MAX_DEPTH: usize = 8;

fn kind(schema: &Value, depth: usize) -> Kind {
    if depth > MAX_DEPTH {
        return Kind::Open;
    }
    let named = |name: &Value| match name.as_str() {
        Some("string") => Kind::Text,
        Some(_) => Kind::Json,
        None => Kind::Open,
    };
    match schema.get("type") {
        Some(Value::Array(names)) => return join(names.iter().map(named)),
        Some(name) => return named(name),
        None => {}
    }
    if let Some(Value::Array(values)) = schema.get("enum") {
        return join(
            values
                .iter()
                .map(|value| if value.is_string() { Kind::Text } else { Kind::Json }),
        );
    }
    ["anyOf", "oneOf"]
        .iter()
        .find_map(|key| schema.get(*key)?.as_array())
        .map_or(Kind::Open, |all| {
            join(all.iter().map(|schema| kind(schema, depth + 1)))
        })
}

/// What all of them are.
fn join(mut kinds: impl Iterator<Item = Kind>) -> Kind {
    let first = kinds.next().unwrap_or(Kind::Open);
    if kinds.all(|kind| kind == first) {
        first
    } else {
        Kind::Open
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn schemas_tell_text_from_what_is_none() {
        for (schema, expected) in [
            (json!({"type": "string"}), Kind::Text),
            (json!({"type": "integer"}), Kind::Json),
            (json!({"type": ["string", "null"]}), Kind::Open),
            (json!({"type": ["integer", "null"]}), Kind::Json),
            (json!({"enum": ["a", "b"]}), Kind::Text),
            (json!({"enum": ["a", 1]}), Kind::Open),
            (
                json!({"anyOf": [{"type": "string"}, {"enum": ["x"]}]}),
                Kind::Text,
            ),
            (
                json!({"anyOf": [{"type": "string"}, {"type": "null"}]}),
                Kind::Open,
            ),
            (json!({"$ref": "#/$defs/x"}), Kind::Open),
            (json!(true), Kind::Open),
        ] {
            let tools = ToolSet::new([("f".to_owned(), json!({"properties": {"p": schema}}))]);
            assert_eq!(tools.kind("f", "p"), expected, "{schema}");
            assert_eq!(tools.kind("f", "q"), Kind::Open);
            assert_eq!(tools.kind("g", "p"), Kind::Open);
        }
    }
}
