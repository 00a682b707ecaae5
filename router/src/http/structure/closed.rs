//! Schemas that name an object's properties mean these alone.
//!
//! JSON Schema lets an object have more properties than it names. Who asks a model for an object with
//! a name and an age wants no third property though, and a small model left free goes on inventing
//! them until its tokens are spent; the servers that this one takes the place of do not let it.
//! An object that says anything itself of further properties stays as it is.

use serde_json::{Map, Value};

/// What speaks of properties beside those under `properties`, or joins schemas whose properties
/// belong together.
const SPEAKS: [&str; 14] = [
    "additionalProperties",
    "patternProperties",
    "unevaluatedProperties",
    "propertyNames",
    "minProperties",
    "dependentSchemas",
    "dependentRequired",
    "dependencies",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "$ref",
];

/// Joins schemas: what one of them names, another may want closed.
const JOINS: [&str; 3] = ["allOf", "dependentSchemas", "if"];

/// Closes the objects of a schema. One that joins schemas anywhere stays as it is.
pub fn close(schema: &mut Value) {
    if !joins(schema) {
        close_all(schema);
    }
}

fn joins(value: &Value) -> bool {
    match value {
        Value::Object(fields) => {
            JOINS.iter().any(|key| fields.contains_key(*key)) || fields.values().any(joins)
        }
        Value::Array(items) => items.iter().any(joins),
        _ => false,
    }
}

fn close_all(schema: &mut Value) {
    let Value::Object(fields) = schema else { return };
    if names_all(fields) {
        fields.insert("additionalProperties".to_owned(), false.into());
    }
    for (key, value) in fields {
        match (key.as_str(), value) {
            ("properties" | "patternProperties" | "$defs" | "definitions", Value::Object(named)) => {
                named.values_mut().for_each(close_all);
            }
            ("anyOf" | "oneOf" | "prefixItems" | "items", Value::Array(several)) => {
                several.iter_mut().for_each(close_all);
            }
            ("items" | "additionalProperties", one) => close_all(one),
            _ => {}
        }
    }
}

/// Whether an object says which properties it has, and needs no others.
fn names_all(fields: &Map<String, Value>) -> bool {
    let Some(Value::Object(named)) = fields.get("properties") else {
        return false;
    };
    let needed = fields.get("required").and_then(Value::as_array);
    let known = |name: &Value| name.as_str().is_some_and(|name| named.contains_key(name));
    !SPEAKS.iter().any(|key| fields.contains_key(*key)) && needed.is_none_or(|names| names.iter().all(known))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn closed(mut schema: Value) -> Value {
        close(&mut schema);
        schema
    }

    #[test]
    fn objects_that_name_their_properties_have_no_others() {
        let schema = json!({
            "properties": {"a": {"items": {"properties": {"b": {}}}}, "c": {"$ref": "#/$defs/d"}},
            "required": ["a"],
            "$defs": {"d": {"anyOf": [{"type": "null"}, {"properties": {}}]}}
        });
        let expected = json!({
            "properties": {
                "a": {"items": {"properties": {"b": {}}, "additionalProperties": false}},
                "c": {"$ref": "#/$defs/d"}
            },
            "required": ["a"],
            "$defs": {"d": {"anyOf": [{"type": "null"}, {"properties": {}, "additionalProperties": false}]}},
            "additionalProperties": false
        });
        assert_eq!(closed(schema), expected);
    }

    #[test]
    fn what_speaks_of_more_or_is_joined_with_more_stays_as_it_is() {
        for schema in [
            json!(true),
            json!({"type": "object"}),
            json!({"properties": {"a": {}}, "additionalProperties": true}),
            json!({"properties": {"a": {}}, "patternProperties": {"^x": {}}}),
            json!({"properties": {"a": {}}, "required": ["b"]}),
            json!({"properties": {"a": {}}, "minProperties": 2}),
            json!({"properties": {"a": {}}, "anyOf": [{"required": ["b"]}]}),
            json!({"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]}),
            // A property's own name is no keyword, yet nothing is lost by leaving it.
            json!({"properties": {"if": {"properties": {"a": {}}}}}),
        ] {
            assert_eq!(closed(schema.clone()), schema);
        }
    }
}
