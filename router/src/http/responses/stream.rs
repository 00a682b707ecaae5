//! How the answer of `POST /v1/responses` is spelled, as events.

use bytes::BytesMut;
use serde_json::{Map, Value, json};

use crate::http::conversation::HeardPart;
use crate::http::error::ApiError;
use crate::http::openai::logprobs::ChatToken;
use crate::http::openai::shapes::put_json;
use crate::http::responses::items::{Change, Items, Open, Sources};
use crate::http::responses::shapes::{Envelope, Progress, item, item_id, reasoning_part, status, text_part};
use crate::http::running::Running;
use crate::http::sse::Spelling;
use crate::session::{ChoiceEvent, End};

/// The answer as events.
#[derive(Debug)]
pub struct Events {
    envelope: Envelope,
    items: Items,
    writer: Writer,
    end: Option<End>,
}

impl Events {
    /// Before the first event.
    #[must_use]
    pub fn new(envelope: Envelope, items: Items) -> Self {
        Self {
            envelope,
            items,
            writer: Writer::default(),
            end: None,
        }
    }
}

/// Numbers events.
#[derive(Debug, Default)]
struct Writer {
    /// Of the next one.
    sequence: u64,
}

impl Writer {
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

    /// Tells what happens to the item at place `index`.
    fn change(&mut self, out: &mut BytesMut, index: usize, open: &Open, change: Change<'_>) {
        match change {
            Change::Begin => self.begin(out, index, open),
            Change::More { text, logprobs } => self.more(out, index, open, text, logprobs),
            Change::End(item) => self.end(out, index, open, item),
        }
    }

    fn begin(&mut self, out: &mut BytesMut, index: usize, open: &Open) {
        let added = json!({"output_index": index, "item": item(open, "in_progress")});
        self.put(out, "response.output_item.added", added);
        let part = match &open.part {
            HeardPart::Reasoning(_) => reasoning_part(""),
            HeardPart::Text(_) => text_part("", &[]),
            HeardPart::Call(_) => return,
        };
        let added = with(place(index, open), json!({"part": part}));
        self.put(out, "response.content_part.added", added);
    }

    fn more(&mut self, out: &mut BytesMut, index: usize, open: &Open, text: &str, logprobs: &[ChatToken]) {
        let (name, delta) = match &open.part {
            HeardPart::Reasoning(_) => ("response.reasoning_text.delta", json!({"delta": text})),
            HeardPart::Text(_) => (
                "response.output_text.delta",
                json!({"delta": text, "logprobs": logprobs}),
            ),
            HeardPart::Call(_) => ("response.function_call_arguments.delta", json!({"delta": text})),
        };
        self.put(out, name, with(place(index, open), delta));
    }

    fn end(&mut self, out: &mut BytesMut, index: usize, open: &Open, item: &Value) {
        let place = place(index, open);
        match &open.part {
            HeardPart::Reasoning(text) => {
                let done = with(place.clone(), json!({"text": text}));
                self.put(out, "response.reasoning_text.done", done);
                let part = json!({"part": reasoning_part(text)});
                self.put(out, "response.content_part.done", with(place, part));
            }
            HeardPart::Text(text) => {
                let done = with(place.clone(), json!({"text": text, "logprobs": open.logprobs}));
                self.put(out, "response.output_text.done", done);
                let part = json!({"part": text_part(text, &open.logprobs)});
                self.put(out, "response.content_part.done", with(place, part));
            }
            HeardPart::Call(call) => {
                let done = json!({"name": call.name, "arguments": call.arguments});
                self.put(out, "response.function_call_arguments.done", with(place, done));
            }
        }
        let done = json!({"output_index": index, "item": item});
        self.put(out, "response.output_item.done", done);
    }
}

/// Where an item stands.
fn place(index: usize, open: &Open) -> Value {
    let place = json!({"item_id": item_id(open), "output_index": index});
    match open.part {
        HeardPart::Call(_) => place,
        _ => with(place, json!({"content_index": 0})),
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
            self.writer.put(out, name, json!({"response": response}));
        }
    }

    fn event(&mut self, out: &mut BytesMut, running: &Running, _choice: usize, event: ChoiceEvent) {
        let Self { items, writer, .. } = self;
        let mut watch =
            |index: usize, open: &Open, change: Change<'_>| writer.change(out, index, open, change);
        if let Some(end) = items.take(event, Sources::of(running), &mut watch) {
            self.end = Some(end);
        }
    }

    fn end(&mut self, out: &mut BytesMut, running: &Running) {
        let Some(end) = self.end.take() else { return };
        let (output, reasoning_tokens) = self.items.done();
        let progress = Progress::Over {
            end: &end,
            accounts: running.accounts(),
            reasoning_tokens,
        };
        let response = self.envelope.response(output, progress);
        let name = format!("response.{}", status(&end));
        self.writer.put(out, &name, json!({"response": response}));
    }

    fn failed(&mut self, out: &mut BytesMut, error: &ApiError) {
        let problem = error.problem();
        let fields = json!({"code": problem.code, "message": problem.message, "param": problem.param});
        self.writer.put(out, "error", fields);
    }
}
