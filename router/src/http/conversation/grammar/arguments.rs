//! What the arguments of a call must look like.

use serde_json::{Value, json};

use crate::http::conversation::tools::Tool;
use crate::http::structure::{json_expression, quoted};

/// What says in a schema that there may be more properties than those it names.
const OPEN: [&str; 7] = [
    "additionalProperties",
    "unevaluatedProperties",
    "patternProperties",
    "allOf",
    "anyOf",
    "oneOf",
    "$ref",
];

/// A call as JSON up to its arguments.
pub(super) fn head(name: &str, key: &str) -> String {
    quoted(&format!("{{\"name\": {}, \"{key}\": ", quoted(name)))
}

/// The schema of a tool's arguments, as an expression.
pub(super) fn of_schema(tool: &Tool) -> String {
    json_expression(schema(tool))
}

/// The schema when the client wants it kept, or else any object.
pub(super) fn of_wish(tool: &Tool) -> String {
    json_expression(wished(tool))
}

/// A whole call as JSON, as an expression.
pub(super) fn whole_call(tool: &Tool, key: &str) -> String {
    let mut arguments = wished(tool);
    relocate(&mut arguments, &format!("/properties/{key}"));
    json_expression(json!({
        "type": "object",
        "properties": {"name": {"const": tool.name()}, key: arguments},
        "required": ["name", key],
        "additionalProperties": false,
    }))
}

fn wished(tool: &Tool) -> Value {
    if tool.is_strict() {
        schema(tool)
    } else {
        json!({"type": "object"})
    }
}

/// The arguments are those that the schema names, unless it says that there may be more.
fn schema(tool: &Tool) -> Value {
    let mut schema = tool.parameters().clone();
    if let Some(fields) = schema.as_object_mut()
        && fields.contains_key("properties")
        && !OPEN.iter().any(|key| fields.contains_key(*key))
    {
        fields.insert("additionalProperties".to_owned(), false.into());
    }
    schema
}

/// References within a schema that becomes a part of another one, at `path`.
fn relocate(schema: &mut Value, path: &str) {
    match schema {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(target) if key == "$ref" && target.starts_with('#') => {
                        target.insert_str(1, path);
                    }
                    value => relocate(value, path),
                }
            }
        }
        Value::Array(entries) => entries.iter_mut().for_each(|entry| relocate(entry, path)),
        _ => {}
    }
}
