//! The answer and its items as JSON.

use serde_json::{Map, Value, json};

use crate::http::conversation::{HeardCall, HeardPart};
use crate::http::openai::logprobs::ChatToken;
use crate::http::openai::shapes::FINGERPRINT;
use crate::http::responses::items::Open;
use crate::session::{Accounts, End};

/// What an answer tells beside its items.
#[derive(Debug)]
pub struct Envelope {
    /// `resp_…`
    pub id: String,
    /// Seconds since 1970.
    pub created_at: u64,
    /// As served.
    pub model: String,
    /// Fields that repeat the request's.
    pub echo: Map<String, Value>,
}

/// How far an answer is.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// It runs.
    Running,
    /// It is over.
    Over {
        /// Why.
        end: &'a End,
        /// What it used.
        accounts: &'a Accounts,
        /// Tokens of the reasoning.
        reasoning_tokens: u32,
    },
}

impl Envelope {
    /// The answer.
    #[must_use]
    pub fn response(&self, output: Vec<Value>, progress: Progress<'_>) -> Value {
        let (status, usage) = match progress {
            Progress::Running => ("in_progress", Value::Null),
            Progress::Over {
                end,
                accounts,
                reasoning_tokens,
            } => (status(end), usage(accounts, reasoning_tokens)),
        };
        let incomplete = (status == "incomplete").then(|| json!({"reason": "max_output_tokens"}));
        let mut response = json!({
            "id": self.id,
            "object": "response",
            "created_at": self.created_at,
            "status": status,
            "background": false,
            "error": null,
            "incomplete_details": incomplete,
            "model": self.model,
            "output": output,
            "system_fingerprint": FINGERPRINT,
            "usage": usage,
        });
        if let Value::Object(fields) = &mut response {
            fields.extend(self.echo.clone());
        }
        response
    }
}

/// Of an answer, and of the item that its end cut off.
#[must_use]
pub fn status(end: &End) -> &'static str {
    match end {
        End::Length => "incomplete",
        _ => "completed",
    }
}

fn usage(accounts: &Accounts, reasoning_tokens: u32) -> Value {
    json!({
        "input_tokens": accounts.prompt_tokens,
        "input_tokens_details": {"cached_tokens": accounts.cached_tokens},
        "output_tokens": accounts.generated_tokens,
        "output_tokens_details": {"reasoning_tokens": reasoning_tokens},
        "total_tokens": accounts.prompt_tokens.saturating_add(accounts.generated_tokens),
    })
}

/// An item.
#[must_use]
pub fn item(item: &Open, status: &str) -> Value {
    let id = item_id(item);
    match &item.part {
        HeardPart::Reasoning(text) => {
            json!({"id": id, "type": "reasoning", "status": status, "summary": [],
                   "content": contents(text, || reasoning_part(text))})
        }
        HeardPart::Text(text) => {
            json!({"id": id, "type": "message", "status": status, "role": "assistant",
                   "content": contents(text, || text_part(text, &item.logprobs))})
        }
        HeardPart::Call(HeardCall {
            id: call_id,
            name,
            arguments,
        }) => {
            json!({"id": id, "type": "function_call", "status": status, "call_id": call_id, "name": name,
                   "arguments": arguments})
        }
    }
}

/// An item's id.
#[must_use]
pub fn item_id(item: &Open) -> String {
    let prefix = match item.part {
        HeardPart::Reasoning(_) => "rs",
        HeardPart::Text(_) => "msg",
        HeardPart::Call(_) => "fc",
    };
    format!("{prefix}_{}", item.id)
}

/// None before there is any text.
fn contents(text: &str, part: impl Fn() -> Value) -> Vec<Value> {
    if text.is_empty() { Vec::new() } else { vec![part()] }
}

/// A part of a message.
#[must_use]
pub fn text_part(text: &str, logprobs: &[ChatToken]) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs})
}

/// A part of reasoning.
#[must_use]
pub fn reasoning_part(text: &str) -> Value {
    json!({"type": "reasoning_text", "text": text})
}
