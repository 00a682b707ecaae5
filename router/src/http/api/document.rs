//! The table of routes as an `OpenAPI` 3.1 document.

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::http::api::operation::Operation;
use crate::http::problem::Dialect;

/// Where schemas lie that others point to.
const COMPONENTS: &str = "/components/schemas";

/// A described route, and whether the key guards it.
pub(super) type Entry = (Operation, bool);

/// The whole document.
pub(super) fn document(entries: &[Entry]) -> Value {
    let settings =
        || SchemaSettings::draft2020_12().with(|settings| settings.definitions_path = COMPONENTS.into());
    let mut bodies = settings().for_deserialize().into_generator();
    let mut answers = settings().for_serialize().into_generator();
    let mut paths = Map::new();
    for (operation, guarded) in entries {
        let described = describe(operation, *guarded, &mut bodies, &mut answers);
        let path = operation.path.replace("{*", "{");
        let methods = paths.entry(path).or_insert_with(|| json!({}));
        if let Value::Object(methods) = methods {
            methods.insert(operation.method.as_str().to_lowercase(), described);
        }
    }
    let mut schemas = errors();
    schemas.extend(bodies.take_definitions(true));
    schemas.extend(answers.take_definitions(true));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Shardline",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Serves a language model to clients of OpenAI's and Anthropic's APIs and of text-generation-inference. \
                Fields that a route does not know are accepted and listed in the answer's header \
                `x-shardline-ignored-fields`. Every answer carries `x-request-id`.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    })
}

fn describe(
    operation: &Operation,
    guarded: bool,
    bodies: &mut SchemaGenerator,
    answers: &mut SchemaGenerator,
) -> Value {
    let mut content = Map::new();
    for answer in &operation.answers {
        let schema = answer
            .schema
            .map_or_else(|| json!({"type": "string"}), |make| make(answers).to_value());
        content.insert(answer.media_type.to_owned(), json!({"schema": schema}));
    }
    let error = match Dialect::of_path(operation.path) {
        Dialect::OpenAi => "OpenAiError",
        Dialect::Anthropic => "AnthropicError",
        Dialect::Native => "NativeError",
    };
    let failure = json!({
        "description": "What is wrong, and with which field",
        "content": {"application/json": {"schema": {"$ref": format!("#{COMPONENTS}/{error}")}}},
    });
    let mut success = json!({"description": "The answer"});
    if !content.is_empty() {
        success["content"] = Value::Object(content);
    }
    let mut described = json!({
        "summary": operation.summary,
        "operationId": operation_id(operation),
        "tags": [tag(operation.path)],
        "responses": {"200": success, "4XX": failure.clone(), "5XX": failure},
    });
    if let Some(make) = operation.body {
        let schema = merge(make(bodies), operation.required);
        described["requestBody"] =
            json!({"required": true, "content": {"application/json": {"schema": schema}}});
    }
    let parameters = path_parameters(operation.path);
    if !parameters.is_empty() {
        described["parameters"] = Value::Array(parameters);
    }
    if guarded {
        // The key, or none where none is set.
        described["security"] = json!([{"key": []}, {}]);
    }
    described
}

/// `post /v1/chat/completions` as a name that a client's code may use.
fn operation_id(operation: &Operation) -> String {
    let path: String = operation
        .path
        .chars()
        .map(|character| {
            if character.is_ascii_alphanumeric() {
                character
            } else {
                '_'
            }
        })
        .collect();
    let words: Vec<&str> = path.split('_').filter(|word| !word.is_empty()).collect();
    format!("{}_{}", operation.method.as_str().to_lowercase(), words.join("_"))
}

fn tag(path: &str) -> &'static str {
    match Dialect::of_path(path) {
        Dialect::OpenAi => "OpenAI",
        Dialect::Anthropic => "Anthropic",
        Dialect::Native => "Native",
    }
}

fn path_parameters(path: &str) -> Vec<Value> {
    let names = path.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        Some(name.trim_start_matches('*'))
    });
    names
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect()
}

/// Several sets of fields as the one object that they are in a body.
fn merge(parts: Vec<Schema>, required: &[&str]) -> Value {
    let mut properties = Map::new();
    for part in parts {
        if let Some(Value::Object(more)) = part.to_value().get_mut("properties").map(Value::take) {
            properties.extend(more);
        }
    }
    let mut merged = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        merged["required"] = json!(required);
    }
    merged
}

/// The shapes of what is refused.
fn errors() -> Map<String, Value> {
    let text = json!({"type": "string"});
    let optional = json!({"type": ["string", "null"]});
    let openai = json!({
        "type": "object",
        "required": ["error"],
        "properties": {"error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {"message": text, "type": text, "param": optional, "code": text},
        }},
    });
    let native = json!({
        "type": "object",
        "required": ["error", "error_type"],
        "properties": {"error": text, "error_type": text, "code": text, "param": text},
    });
    let anthropic = json!({
        "type": "object",
        "required": ["type", "error"],
        "properties": {"type": {"const": "error"}, "error": {
            "type": "object",
            "required": ["type", "message"],
            "properties": {"type": text, "message": text},
        }},
    });
    let shapes = [
        ("OpenAiError", openai),
        ("AnthropicError", anthropic),
        ("NativeError", native),
    ];
    Map::from_iter(shapes.map(|(name, shape)| (name.to_owned(), shape)))
}
