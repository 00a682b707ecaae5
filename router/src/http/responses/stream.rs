//! How the answer of `POST /v1/responses` is spelled.

use bytes::BytesMut;
use serde_json::{Map, Value, json};

use crate::http::conversation::{Answered, HeardCall, HeardPart, Reader, Reading, Said};
use crate::http::error::ApiError;
use crate::http::ids::Ids;
use crate::http::openai::shapes::put_json;
use crate::http::responses::shapes::{Envelope, Progress, item, item_id, reasoning_part, status, text_part};
use crate::http::running::Running;
use crate::http::sse::Spelling;
use crate::session::{ChoiceEvent, End};

/// An answer in one piece.
///
/// # Errors
/// When it cannot be written, which a fault of this server's own would be.
pub fn whole(envelope: &Envelope, answered: &Answered, running: &Running) -> Result<Vec<u8>, ApiError> {
    let parts = &answered.heard.parts;
    let items = parts.iter().enumerate().map(|(index, part)| {
        let over = matches!(part, HeardPart::Call(call) if call.whole) || index + 1 < parts.len();
        let status = if over { "completed" } else { status(&answered.end) };
        item(part, &running.app().ids.text(), status)
    });
    let progress = Progress::Over {
        end: &answered.end,
        accounts: running.accounts(),
        reasoning_tokens: answered.reasoning_tokens,
    };
    let response = envelope.response(items.collect(), progress);
    serde_json::to_vec(&response).map_err(|error| ApiError::Internal {
        cause: error.to_string(),
    })
}

/// The answer as events.
#[derive(Debug)]
pub struct Events {
    envelope: Envelope,
    reader: Reader,
    /// The item at hand, and its id without prefix.
    open: Option<(HeardPart, String)>,
    /// Items that are done.
    done: Vec<Value>,
    /// Of the last event.
    sequence: u64,
    end: Option<End>,
}

impl Events {
    /// Before the first event.
    #[must_use]
    pub fn new(envelope: Envelope, reading: &Reading) -> Self {
        Self {
            envelope,
            reader: reading.reader(),
            open: None,
            done: Vec::new(),
            sequence: 0,
            end: None,
        }
    }

    fn put(&mut self, out: &mut BytesMut, name: &str, fields: Value) {
        let mut data = Map::from_iter([
            ("type".to_owned(), Value::from(name)),
            ("sequence_number".to_owned(), Value::from(self.sequence)),
        ]);
        if let Value::Object(fields) = fields {
            data.extend(fields);
        }
        self.sequence += 1;
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\ndata: ");
        put_json(out, &data);
        out.extend_from_slice(b"\n\n");
    }

    fn say(&mut self, out: &mut BytesMut, said: Said, ids: &Ids) {
        match said {
            Said::Reasoning(text) => {
                if !matches!(self.open, Some((HeardPart::Reasoning(_), _))) {
                    self.begin_item(out, HeardPart::Reasoning(String::new()), ids);
                }
                self.more(out, &text);
            }
            Said::Text(text) => {
                if !matches!(self.open, Some((HeardPart::Text(_), _))) {
                    self.begin_item(out, HeardPart::Text(String::new()), ids);
                }
                self.more(out, &text);
            }
            Said::Call { id, name, .. } => {
                let call = HeardCall {
                    id,
                    name,
                    arguments: String::new(),
                    whole: false,
                };
                self.begin_item(out, HeardPart::Call(call), ids);
            }
            Said::Arguments { text, .. } => self.more(out, &text),
            Said::CallEnd => self.end_item(out, "completed"),
        }
    }

    fn begin_item(&mut self, out: &mut BytesMut, part: HeardPart, ids: &Ids) {
        self.end_item(out, "completed");
        let id = ids.text();
        let added = json!({"output_index": self.done.len(), "item": item(&part, &id, "in_progress")});
        self.put(out, "response.output_item.added", added);
        let content = match &part {
            HeardPart::Reasoning(_) => Some(reasoning_part("")),
            HeardPart::Text(_) => Some(text_part("")),
            HeardPart::Call(_) => None,
        };
        let place = self.place(&part, &id);
        self.open = Some((part, id));
        if let Some(content) = content {
            self.put(
                out,
                "response.content_part.added",
                with(place, json!({"part": content})),
            );
        }
    }

    /// Where the item at hand stands.
    fn place(&self, part: &HeardPart, id: &str) -> Value {
        let place = json!({"item_id": item_id(part, id), "output_index": self.done.len()});
        match part {
            HeardPart::Call(_) => place,
            _ => with(place, json!({"content_index": 0})),
        }
    }

    fn more(&mut self, out: &mut BytesMut, more: &str) {
        let Some((mut part, id)) = self.open.take() else {
            return;
        };
        let (name, delta) = match &mut part {
            HeardPart::Reasoning(text) => {
                text.push_str(more);
                ("response.reasoning_text.delta", json!({"delta": more}))
            }
            HeardPart::Text(text) => {
                text.push_str(more);
                (
                    "response.output_text.delta",
                    json!({"delta": more, "logprobs": []}),
                )
            }
            HeardPart::Call(call) => {
                call.arguments.push_str(more);
                ("response.function_call_arguments.delta", json!({"delta": more}))
            }
        };
        let place = self.place(&part, &id);
        self.put(out, name, with(place, delta));
        self.open = Some((part, id));
    }

    fn end_item(&mut self, out: &mut BytesMut, status: &str) {
        let Some((part, id)) = self.open.take() else {
            return;
        };
        let place = self.place(&part, &id);
        match &part {
            HeardPart::Reasoning(text) => {
                let done = with(place.clone(), json!({"text": text}));
                self.put(out, "response.reasoning_text.done", done);
                let part = json!({"part": reasoning_part(text)});
                self.put(out, "response.content_part.done", with(place, part));
            }
            HeardPart::Text(text) => {
                let done = with(place.clone(), json!({"text": text, "logprobs": []}));
                self.put(out, "response.output_text.done", done);
                let part = json!({"part": text_part(text)});
                self.put(out, "response.content_part.done", with(place, part));
            }
            HeardPart::Call(call) => {
                let done = json!({"name": call.name, "arguments": call.arguments});
                self.put(out, "response.function_call_arguments.done", with(place, done));
            }
        }
        let item = item(&part, &id, status);
        let done = json!({"output_index": self.done.len(), "item": item});
        self.put(out, "response.output_item.done", done);
        self.done.push(item);
    }
}

fn with(mut value: Value, more: Value) -> Value {
    if let (Value::Object(fields), Value::Object(more)) = (&mut value, more) {
        fields.extend(more);
    }
    value
}

impl Spelling for Events {
    fn begin(&mut self, out: &mut BytesMut, _running: &Running) {
        for name in ["response.created", "response.in_progress"] {
            let response = self.envelope.response(Vec::new(), Progress::Running);
            self.put(out, name, json!({"response": response}));
        }
    }

    fn event(&mut self, out: &mut BytesMut, running: &Running, _choice: usize, event: ChoiceEvent) {
        let ids = &running.app().ids;
        let (said, end) = match event {
            ChoiceEvent::Started { .. } | ChoiceEvent::Prompt(_) => return,
            ChoiceEvent::Token(token) => (self.reader.token(&token.text, ids), None),
            ChoiceEvent::Finished { end, text, .. } => {
                let mut said = self.reader.text(&text, ids);
                said.extend(self.reader.finish(ids));
                (said, Some(end))
            }
        };
        for said in said {
            self.say(out, said, ids);
        }
        if let Some(end) = end {
            self.end_item(out, status(&end));
            self.end = Some(end);
        }
    }

    fn end(&mut self, out: &mut BytesMut, running: &Running) {
        let Some(end) = self.end.take() else { return };
        let progress = Progress::Over {
            end: &end,
            accounts: running.accounts(),
            reasoning_tokens: self.reader.reasoning_tokens(),
        };
        let response = self.envelope.response(std::mem::take(&mut self.done), progress);
        let name = format!("response.{}", status(&end));
        self.put(out, &name, json!({"response": response}));
    }

    fn failed(&mut self, out: &mut BytesMut, error: &ApiError) {
        let problem = error.problem();
        let fields = json!({"code": problem.code, "message": problem.message, "param": problem.param});
        self.put(out, "error", fields);
    }
}
