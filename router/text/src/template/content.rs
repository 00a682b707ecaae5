//! Messages in the form that a template expects.

use serde_json::{Map, Value, json};

use super::error::TemplateError;

/// The form of `content` and of a tool call's `arguments` that a template can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MessageForm {
    /// `content` is a list of parts, not text.
    pub(super) parts: bool,
    /// `arguments` is the JSON text, not the object.
    pub(super) argument_text: bool,
}

/// Names under which a model's reasoning travels; templates read the first or the second.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// Brings messages into a template's form.
pub(super) fn prepare(messages: &[Value], form: MessageForm) -> Result<Vec<Value>, TemplateError> {
    messages
        .iter()
        .enumerate()
        .map(|(index, message)| prepare_message(index, message, form))
        .collect()
}

fn prepare_message(index: usize, message: &Value, form: MessageForm) -> Result<Value, TemplateError> {
    let Value::Object(message) = message else {
        return Err(TemplateError::Message {
            index,
            given: json_type(message),
        });
    };
    let mut message = message.clone();
    let content = message.get("content").unwrap_or(&Value::Null);
    let content = if form.parts {
        content_parts(index, content)?
    } else {
        content_text(index, content)?
    };
    message.insert("content".to_owned(), content);
    if let Some(Value::Array(calls)) = message.get_mut("tool_calls") {
        calls
            .iter_mut()
            .for_each(|call| set_arguments(call, form.argument_text));
    }
    name_reasoning(&mut message);
    Ok(Value::Object(message))
}

/// Text as it is; parts joined; null is empty.
fn content_text(index: usize, content: &Value) -> Result<Value, TemplateError> {
    match content {
        Value::Null => Ok(Value::String(String::new())),
        Value::String(text) => Ok(Value::String(text.clone())),
        Value::Array(parts) => {
            let texts = parts
                .iter()
                .enumerate()
                .map(|(part, value)| part_text(index, part, value));
            texts.collect::<Result<String, _>>().map(Value::String)
        }
        other => Err(TemplateError::Content {
            index,
            given: json_type(other),
        }),
    }
}

/// Parts as they are; text becomes one part; null is none.
fn content_parts(index: usize, content: &Value) -> Result<Value, TemplateError> {
    let part = |text: &str| json!({"type": "text", "text": text});
    match content {
        Value::Null => Ok(Value::Array(Vec::new())),
        Value::String(text) => Ok(Value::Array(vec![part(text)])),
        Value::Array(parts) => {
            let texts = parts
                .iter()
                .enumerate()
                .map(|(at, value)| part_text(index, at, value).map(part));
            texts.collect::<Result<Vec<_>, _>>().map(Value::Array)
        }
        other => Err(TemplateError::Content {
            index,
            given: json_type(other),
        }),
    }
}

fn part_text(index: usize, part: usize, value: &Value) -> Result<&str, TemplateError> {
    if let Value::String(text) = value {
        return Ok(text);
    }
    let kind = value.get("type").and_then(Value::as_str).unwrap_or("text");
    match (kind, value.get("text").and_then(Value::as_str)) {
        ("text", Some(text)) => Ok(text),
        ("text", None) => Err(TemplateError::Part {
            index,
            part,
            given: "text without `text`".to_owned(),
        }),
        (other, _) => Err(TemplateError::Part {
            index,
            part,
            given: crate::error::shorten(other, 40),
        }),
    }
}

/// Clients send `arguments` as JSON text; most templates write it from the object.
fn set_arguments(call: &mut Value, as_text: bool) {
    let function = match call.get_mut("function") {
        Some(function) => function,
        None => call,
    };
    let Some(arguments) = function.get_mut("arguments") else {
        return;
    };
    match arguments {
        Value::String(text) if !as_text => {
            if let Ok(object @ Value::Object(_)) = serde_json::from_str(text) {
                *arguments = object;
            }
        }
        Value::Object(_) if as_text => *arguments = Value::String(arguments.to_string()),
        _ => {}
    }
}

fn name_reasoning(message: &mut Map<String, Value>) {
    let given = REASONING
        .iter()
        .filter_map(|name| message.get(*name))
        .find(|value| value.is_string())
        .cloned();
    if let Some(reasoning) = given {
        message.insert("reasoning_content".to_owned(), reasoning.clone());
        message.entry("thinking").or_insert(reasoning);
    }
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a flag",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
