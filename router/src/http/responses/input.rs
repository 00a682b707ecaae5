//! Items of input: their rules, and what they are for a chat template.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::http::check;
use crate::http::conversation::{Message, wrong_type};
use crate::http::error::{ApiError, Rule};

const MAX_ITEMS: usize = 16_384;
const ROLES: [&str; 4] = ["user", "assistant", "system", "developer"];

/// One item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// Said by somebody.
    Message {
        /// One of `ROLES`.
        role: String,
        /// All of it.
        text: String,
    },
    /// Thought by the model.
    Reasoning(String),
    /// Called by the model.
    Call {
        /// Which the result repeats.
        id: String,
        /// The function.
        name: String,
        /// JSON text.
        arguments: String,
    },
    /// The result of a call.
    Output {
        /// Of which call.
        id: String,
        /// What came out.
        text: String,
    },
}

/// Checks the input.
///
/// # Errors
/// With the first field at fault.
pub fn items(input: Option<Value>) -> Result<Vec<Item>, ApiError> {
    match input {
        None | Some(Value::Null) => Err(ApiError::missing("input")),
        Some(Value::String(text)) if text.is_empty() => empty(),
        Some(Value::String(text)) => Ok(vec![Item::Message {
            role: "user".to_owned(),
            text,
        }]),
        Some(Value::Array(items)) if items.is_empty() => empty(),
        Some(Value::Array(items)) => {
            check::count("input", items.len(), MAX_ITEMS)?;
            let items = items.iter().enumerate();
            items
                .map(|(index, given)| item(&format!("input[{index}]"), given))
                .collect()
        }
        Some(other) => Err(wrong_type(
            "input".to_owned(),
            &other,
            "a string or a list of items",
        )),
    }
}

fn empty() -> Result<Vec<Item>, ApiError> {
    Err(ApiError::invalid(
        "input",
        Rule::Count,
        "`input` must not be empty",
    ))
}

fn item(path: &str, given: &Value) -> Result<Item, ApiError> {
    let Value::Object(fields) = given else {
        return Err(wrong_type(path.to_owned(), given, "an object"));
    };
    let kind = match fields.get("type") {
        None | Some(Value::Null) => "message",
        Some(Value::String(kind)) => kind,
        Some(other) => return Err(wrong_type(format!("{path}.type"), other, "a string")),
    };
    match kind {
        "message" => message(path, fields),
        "reasoning" => Ok(Item::Reasoning(match fields.get("content") {
            None | Some(Value::Null) => String::new(),
            Some(content) => text_of(&format!("{path}.content"), content)?,
        })),
        "function_call" => Ok(Item::Call {
            id: text(path, fields, "call_id")?,
            name: text(path, fields, "name")?,
            arguments: text(path, fields, "arguments")?,
        }),
        "function_call_output" => Ok(Item::Output {
            id: text(path, fields, "call_id")?,
            text: match fields.get("output") {
                None | Some(Value::Null) => return Err(ApiError::missing(&format!("{path}.output"))),
                Some(output) => text_of(&format!("{path}.output"), output)?,
            },
        }),
        _ => {
            let kind: String = kind.chars().take(40).collect();
            let fix = format!("send messages, reasoning, function calls and their outputs, not `{kind}`");
            Err(ApiError::unsupported(format!("{path}.type"), fix))
        }
    }
}

fn message(path: &str, fields: &Map<String, Value>) -> Result<Item, ApiError> {
    let role = text(path, fields, "role")?;
    if !ROLES.contains(&role.as_str()) {
        let given: String = role.chars().take(40).collect();
        let message = format!(
            "`{path}.role` must be one of {}. Given: `{given}`",
            ROLES.join(", ")
        );
        return Err(ApiError::invalid(format!("{path}.role"), Rule::Value, message));
    }
    let content = match fields.get("content") {
        None | Some(Value::Null) => return Err(ApiError::missing(&format!("{path}.content"))),
        Some(content) => content,
    };
    Ok(Item::Message {
        role,
        text: text_of(&format!("{path}.content"), content)?,
    })
}

fn text(path: &str, fields: &Map<String, Value>, field: &str) -> Result<String, ApiError> {
    match fields.get(field) {
        Some(Value::String(text)) => Ok(text.clone()),
        None | Some(Value::Null) => Err(ApiError::missing(&format!("{path}.{field}"))),
        Some(other) => Err(wrong_type(format!("{path}.{field}"), other, "a string")),
    }
}

/// A text, or parts of text joined.
fn text_of(path: &str, content: &Value) -> Result<String, ApiError> {
    let parts = match content {
        Value::String(text) => return Ok(text.clone()),
        Value::Array(parts) => parts,
        other => return Err(wrong_type(path.to_owned(), other, "a string or a list of parts")),
    };
    check::count(path, parts.len(), MAX_ITEMS)?;
    let mut all = String::new();
    for (index, part) in parts.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let Value::Object(fields) = part else {
            return Err(wrong_type(path, part, "an object"));
        };
        let kind = text(&path, fields, "type")?;
        if !["input_text", "output_text", "text", "reasoning_text", "refusal"].contains(&kind.as_str()) {
            let kind: String = kind.chars().take(40).collect();
            let fix = format!("send parts of type `input_text`, not `{kind}`");
            return Err(ApiError::unsupported(format!("{path}.type"), fix));
        }
        let field = if kind == "refusal" { "refusal" } else { "text" };
        all.push_str(&text(&path, fields, field)?);
    }
    Ok(all)
}

/// The messages that a chat template reads: what the model thought, said and called in one go is
/// one message.
#[must_use]
pub fn for_template(instructions: Option<String>, items: Vec<Item>) -> Vec<Message> {
    let mut all: Vec<Message> = Vec::with_capacity(items.len() + 1);
    if let Some(instructions) = instructions {
        all.push(object(json!({"role": "system", "content": instructions})));
    }
    let mut names = HashMap::new();
    for item in items {
        match item {
            Item::Message { role, text } if role == "assistant" => {
                let message = answer(&mut all, |message| !message.contains_key("tool_calls"));
                let before = message.get("content").and_then(Value::as_str).unwrap_or_default();
                let text = format!("{before}{text}");
                message.insert("content".to_owned(), text.into());
            }
            Item::Message { role, text } => all.push(object(json!({"role": role, "content": text}))),
            Item::Reasoning(text) => {
                let message = object(json!({"role": "assistant", "content": "", "reasoning_content": text}));
                all.push(message);
            }
            Item::Call { id, name, arguments } => {
                names.insert(id.clone(), name.clone());
                let call =
                    json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
                let message = answer(&mut all, |_| true);
                match message.get_mut("tool_calls") {
                    Some(Value::Array(calls)) => calls.push(call),
                    _ => {
                        message.insert("tool_calls".to_owned(), json!([call]));
                    }
                }
            }
            Item::Output { id, text } => {
                let mut message = object(json!({"role": "tool", "tool_call_id": id, "content": text}));
                if let Some(name) = names.get(&id) {
                    message.insert("name".to_owned(), name.as_str().into());
                }
                all.push(message);
            }
        }
    }
    all
}

/// The model's message at the end, or a new one when the last is another's or does not fit.
fn answer(all: &mut Vec<Message>, fits: impl Fn(&Message) -> bool) -> &mut Message {
    let own = |message: &Message| message.get("role").and_then(Value::as_str) == Some("assistant");
    if !all.last().is_some_and(|message| own(message) && fits(message)) {
        all.push(object(json!({"role": "assistant", "content": ""})));
    }
    let last = all.len() - 1;
    &mut all[last]
}

fn object(value: Value) -> Message {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_model_did_in_one_go_is_one_message() {
        let input = json!([
            {"role": "user", "content": [{"type": "input_text", "text": "When?"}]},
            {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Look."}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
            {"type": "function_call", "call_id": "1", "name": "now", "arguments": "{}"},
            {"type": "function_call", "call_id": "2", "name": "now", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "1", "output": "noon"},
            {"type": "function_call_output", "call_id": "2", "output": [{"type": "input_text", "text": "noon"}]},
        ]);
        let messages = for_template(Some("Be brief.".to_owned()), items(Some(input)).unwrap());
        insta::assert_json_snapshot!(messages);
    }
}
