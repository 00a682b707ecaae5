//! How the answer of `POST /v1/messages` is spelled.

use bytes::BytesMut;
use serde::Serialize;
use serde_json::{Value, json};

use crate::http::conversation::{Answered, HeardCall, HeardPart, Reader, Reading, Said};
use crate::http::error::ApiError;
use crate::http::openai::shapes::put_json;
use crate::http::problem::Dialect;
use crate::http::running::Running;
use crate::http::sse::Spelling;
use crate::session::{Accounts, ChoiceEvent, End};

/// What an answer tells beside what was said.
#[derive(Debug)]
pub struct Told {
    /// `msg_…`
    pub id: String,
    /// As served.
    pub model: String,
    /// How the text is read.
    pub reading: Reading,
    /// The request's own.
    pub stop_sequences: Vec<String>,
}

#[derive(Serialize)]
struct Usage {
    /// Those that are not from the cache.
    input_tokens: u32,
    cache_creation_input_tokens: u32,
    cache_read_input_tokens: u32,
    output_tokens: u32,
}

impl Usage {
    fn of(accounts: &Accounts) -> Self {
        Self {
            input_tokens: accounts.prompt_tokens.saturating_sub(accounts.cached_tokens),
            cache_creation_input_tokens: 0,
            cache_read_input_tokens: accounts.cached_tokens,
            output_tokens: accounts.generated_tokens,
        }
    }
}

impl Told {
    /// The message as it begins, or as it is in the end.
    fn message(&self, content: Vec<Value>, stop: (Value, Value), usage: &Usage) -> Value {
        json!({
            "id": self.id, "type": "message", "role": "assistant", "model": self.model, "content": content,
            "stop_reason": stop.0, "stop_sequence": stop.1, "usage": usage,
        })
    }

    /// `stop_reason` and `stop_sequence`.
    fn stop(&self, end: &End, calls: bool) -> (Value, Value) {
        match end {
            End::Length => ("max_tokens".into(), Value::Null),
            End::StopString(hit) => {
                let found = self.stop_sequences.get(hit.index).cloned();
                ("stop_sequence".into(), found.into())
            }
            _ if calls => ("tool_use".into(), Value::Null),
            _ => ("end_turn".into(), Value::Null),
        }
    }
}

/// An answer in one piece.
///
/// # Errors
/// When it cannot be written, which a fault of this server's own would be.
pub fn whole(told: &Told, answered: Answered, accounts: &Accounts) -> Result<Vec<u8>, ApiError> {
    let parts = answered.heard.parts;
    let calls = parts.iter().any(|part| matches!(part, HeardPart::Call(_)));
    let stop = told.stop(&answered.end, calls);
    let content = parts.into_iter().map(content).collect();
    let message = told.message(content, stop, &Usage::of(accounts));
    serde_json::to_vec(&message).map_err(|error| ApiError::Internal {
        cause: error.to_string(),
    })
}

fn content(part: HeardPart) -> Value {
    match part {
        HeardPart::Reasoning(text) => json!({"type": "thinking", "thinking": text, "signature": ""}),
        HeardPart::Text(text) => json!({"type": "text", "text": text}),
        HeardPart::Call(HeardCall {
            id, name, arguments, ..
        }) => {
            // Arguments that were cut off are no object: they are shown as they are.
            let input: Value =
                serde_json::from_str(&arguments).unwrap_or_else(|_| json!({"_incomplete": arguments}));
            json!({"type": "tool_use", "id": id, "name": name, "input": input})
        }
    }
}

/// The answer as events.
#[derive(Debug)]
pub struct Events {
    told: Told,
    reader: Reader,
    /// The block at hand.
    open: Option<Kind>,
    /// Blocks that are closed.
    closed: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Thinking,
    Text,
    Call,
}

impl Events {
    /// Before the first event.
    #[must_use]
    pub fn new(told: Told) -> Self {
        Self {
            reader: told.reading.reader(),
            told,
            open: None,
            closed: 0,
        }
    }

    fn say(&mut self, out: &mut BytesMut, said: Vec<Said>) {
        for said in said {
            match said {
                Said::Reasoning(text) => {
                    let block = || json!({"type": "thinking", "thinking": "", "signature": ""});
                    self.open(out, Kind::Thinking, block);
                    self.delta(out, &json!({"type": "thinking_delta", "thinking": text}));
                }
                Said::Text(text) => {
                    self.open(out, Kind::Text, || json!({"type": "text", "text": ""}));
                    self.delta(out, &json!({"type": "text_delta", "text": text}));
                }
                Said::Call { id, name, .. } => {
                    self.close(out);
                    let block = || json!({"type": "tool_use", "id": id, "name": name, "input": {}});
                    self.open(out, Kind::Call, block);
                }
                Said::Arguments { text, .. } => {
                    self.delta(out, &json!({"type": "input_json_delta", "partial_json": text}));
                }
                Said::CallEnd => self.close(out),
            }
        }
    }

    /// Begins a block unless one of this kind is open.
    fn open(&mut self, out: &mut BytesMut, kind: Kind, block: impl FnOnce() -> Value) {
        if self.open == Some(kind) {
            return;
        }
        self.close(out);
        self.open = Some(kind);
        let index = self.closed;
        let start = json!({"type": "content_block_start", "index": index, "content_block": block()});
        put_event(out, "content_block_start", &start);
    }

    fn delta(&self, out: &mut BytesMut, delta: &Value) {
        let delta = json!({"type": "content_block_delta", "index": self.closed, "delta": delta});
        put_event(out, "content_block_delta", &delta);
    }

    fn close(&mut self, out: &mut BytesMut) {
        if self.open.take().is_some() {
            let stop = json!({"type": "content_block_stop", "index": self.closed});
            put_event(out, "content_block_stop", &stop);
            self.closed += 1;
        }
    }
}

impl Spelling for Events {
    fn begin(&mut self, out: &mut BytesMut, running: &Running) {
        let usage = Usage {
            output_tokens: 0,
            ..Usage::of(running.accounts())
        };
        let message = self.told.message(Vec::new(), (Value::Null, Value::Null), &usage);
        put_event(
            out,
            "message_start",
            &json!({"type": "message_start", "message": message}),
        );
        put_event(out, "ping", &json!({"type": "ping"}));
    }

    fn event(&mut self, out: &mut BytesMut, running: &Running, _choice: usize, event: ChoiceEvent) {
        let ids = &running.app().ids;
        match event {
            ChoiceEvent::Started { .. } | ChoiceEvent::Prompt(_) => {}
            ChoiceEvent::Token(token) => {
                let said = self.reader.token(&token.text, ids);
                self.say(out, said);
            }
            ChoiceEvent::Finished { end, text, .. } => {
                let mut said = self.reader.text(&text, ids);
                said.extend(self.reader.finish(ids));
                self.say(out, said);
                self.close(out);
                let (reason, sequence) = self.told.stop(&end, self.reader.calls() > 0);
                let delta = json!({
                    "type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": sequence},
                    "usage": Usage::of(running.accounts()),
                });
                put_event(out, "message_delta", &delta);
            }
        }
    }

    fn end(&mut self, out: &mut BytesMut, _running: &Running) {
        put_event(out, "message_stop", &json!({"type": "message_stop"}));
    }

    fn failed(&mut self, out: &mut BytesMut, error: &ApiError) {
        out.extend_from_slice(b"event: error\ndata: ");
        out.extend_from_slice(&error.problem().json(Dialect::Anthropic));
        out.extend_from_slice(b"\n\n");
    }
}

fn put_event(out: &mut BytesMut, name: &str, data: &Value) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    put_json(out, data);
    out.extend_from_slice(b"\n\n");
}
