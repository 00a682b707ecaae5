//! Blocks of content: their rules, and what they are for a chat template.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::http::check;
use crate::http::conversation::{Message as ChatMessage, wrong_type};
use crate::http::error::{ApiError, Rule};

const MAX_BLOCKS: usize = 16_384;

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The model's own, or else the user's.
    pub(super) own: bool,
    pub(super) blocks: Vec<Block>,
}

/// A block of content.
#[derive(Clone, Debug, PartialEq)]
pub enum Block {
    /// Said.
    Text(String),
    /// Thought.
    Thinking(String),
    /// A call.
    Call {
        /// Which the result repeats.
        id: String,
        /// The tool.
        name: String,
        /// An object.
        input: Value,
    },
    /// The result of a call.
    Result {
        /// Of which call.
        id: String,
        /// What came out.
        text: String,
    },
}

/// Checks one message. `path`: where it stands.
///
/// # Errors
/// With the first field at fault.
pub fn message(path: &str, given: &Map<String, Value>) -> Result<Message, ApiError> {
    let own = match text(path, given, "role")? {
        "assistant" => true,
        "user" => false,
        role => {
            let role: String = role.chars().take(40).collect();
            let message = format!("`{path}.role` must be user or assistant. Given: `{role}`");
            return Err(ApiError::invalid(format!("{path}.role"), Rule::Value, message));
        }
    };
    let path = format!("{path}.content");
    let blocks = match given.get("content") {
        Some(Value::String(text)) => vec![Block::Text(text.clone())],
        Some(Value::Array(blocks)) => {
            check::count(&path, blocks.len(), MAX_BLOCKS)?;
            let blocks = blocks.iter().enumerate();
            let checked = blocks.map(|(index, given)| block(&format!("{path}[{index}]"), own, given));
            checked.filter_map(Result::transpose).collect::<Result<_, _>>()?
        }
        None | Some(Value::Null) => return Err(ApiError::missing(&path)),
        Some(other) => return Err(wrong_type(path, other, "a string or a list of blocks")),
    };
    Ok(Message { own, blocks })
}

/// `None`: a block that nobody can read.
fn block(path: &str, own: bool, given: &Value) -> Result<Option<Block>, ApiError> {
    let Value::Object(fields) = given else {
        return Err(wrong_type(path.to_owned(), given, "an object"));
    };
    let kind = text(path, fields, "type")?;
    match kind {
        "text" => Ok(Some(Block::Text(text(path, fields, "text")?.to_owned()))),
        "thinking" if own => Ok(Some(Block::Thinking(text(path, fields, "thinking")?.to_owned()))),
        "redacted_thinking" if own => Ok(None),
        "tool_use" if own => Ok(Some(Block::Call {
            id: text(path, fields, "id")?.to_owned(),
            name: text(path, fields, "name")?.to_owned(),
            input: match fields.get("input") {
                None | Some(Value::Null) => json!({}),
                Some(input @ Value::Object(_)) => input.clone(),
                Some(other) => return Err(wrong_type(format!("{path}.input"), other, "an object")),
            },
        })),
        "tool_result" if !own => Ok(Some(Block::Result {
            id: text(path, fields, "tool_use_id")?.to_owned(),
            text: fields.get("content").map_or(Ok(String::new()), |content| {
                texts(&format!("{path}.content"), content)
            })?,
        })),
        _ => {
            let kind: String = kind.chars().take(40).collect();
            let fix = format!("send blocks of text, calls and their results, not `{kind}` in this message");
            Err(ApiError::unsupported(format!("{path}.type"), fix))
        }
    }
}

/// A text, or blocks of text joined.
///
/// # Errors
/// When it is neither.
pub fn texts(path: &str, given: &Value) -> Result<String, ApiError> {
    match given {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        Value::Array(blocks) => {
            check::count(path, blocks.len(), MAX_BLOCKS)?;
            let mut all = Vec::with_capacity(blocks.len());
            for (index, given) in blocks.iter().enumerate() {
                let path = format!("{path}[{index}]");
                match block(&path, false, given)? {
                    Some(Block::Text(text)) => all.push(text),
                    _ => {
                        let fix = "send blocks of type `text`";
                        return Err(ApiError::unsupported(format!("{path}.type"), fix));
                    }
                }
            }
            Ok(all.join("\n"))
        }
        other => Err(wrong_type(path.to_owned(), other, "a string or a list of blocks")),
    }
}

fn text<'a>(path: &str, fields: &'a Map<String, Value>, field: &str) -> Result<&'a str, ApiError> {
    match fields.get(field) {
        Some(Value::String(text)) => Ok(text),
        None | Some(Value::Null) => Err(ApiError::missing(&format!("{path}.{field}"))),
        Some(other) => Err(wrong_type(format!("{path}.{field}"), other, "a string")),
    }
}

/// The messages that a chat template reads.
#[must_use]
pub fn for_template(system: String, messages: Vec<Message>) -> Vec<ChatMessage> {
    let mut all = Vec::with_capacity(messages.len() + 1);
    if !system.is_empty() {
        all.push(object(json!({"role": "system", "content": system})));
    }
    let mut names = HashMap::new();
    for message in messages {
        if message.own {
            all.push(answer(message.blocks, &mut names));
        } else {
            question(message.blocks, &names, &mut all);
        }
    }
    all
}

fn answer(blocks: Vec<Block>, names: &mut HashMap<String, String>) -> ChatMessage {
    let (mut text, mut thinking, mut calls) = (Vec::new(), Vec::new(), Vec::new());
    for block in blocks {
        match block {
            Block::Text(part) => text.push(part),
            Block::Thinking(part) => thinking.push(part),
            Block::Call { id, name, input } => {
                names.insert(id.clone(), name.clone());
                calls.push(
                    json!({"id": id, "type": "function", "function": {"name": name, "arguments": input}}),
                );
            }
            Block::Result { .. } => {}
        }
    }
    let mut message = object(json!({"role": "assistant", "content": text.join("")}));
    if !thinking.is_empty() {
        message.insert("reasoning_content".to_owned(), thinking.join("\n").into());
    }
    if !calls.is_empty() {
        message.insert("tool_calls".to_owned(), calls.into());
    }
    message
}

/// Results of calls are messages of their own; text stands in its order between them.
fn question(blocks: Vec<Block>, names: &HashMap<String, String>, all: &mut Vec<ChatMessage>) {
    let mut texts: Vec<String> = Vec::new();
    let user = |texts: &mut Vec<String>, all: &mut Vec<ChatMessage>| {
        if !texts.is_empty() {
            let text = std::mem::take(texts).join("\n");
            all.push(object(json!({"role": "user", "content": text})));
        }
    };
    for block in blocks {
        match block {
            Block::Text(text) => texts.push(text),
            Block::Result { id, text } => {
                user(&mut texts, all);
                let mut message = object(json!({"role": "tool", "tool_call_id": id, "content": text}));
                if let Some(name) = names.get(&id) {
                    message.insert("name".to_owned(), name.as_str().into());
                }
                all.push(message);
            }
            Block::Thinking(_) | Block::Call { .. } => {}
        }
    }
    user(&mut texts, all);
}

fn object(value: Value) -> ChatMessage {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}
