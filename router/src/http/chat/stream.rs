//! How the answer of `POST /v1/chat/completions` is spelled, as events.

use bytes::BytesMut;
use serde::Serialize;

use crate::http::conversation::{Reader, Reading, Said};
use crate::http::error::ApiError;
use crate::http::openai::answer::Answer;
use crate::http::openai::logprobs::ChatLogprobs;
use crate::http::openai::shapes::{DONE, Usage, finish_reason, put_json, put_number};
use crate::http::problem::Dialect;
use crate::http::running::Running;
use crate::http::sse::{Spelling, put_error};
use crate::session::{ChoiceEvent, End, Settled};

/// An answer with what only chats have.
#[derive(Debug)]
pub struct Told {
    /// What it has in common with others.
    pub answer: Answer,
    /// The beginning of the message, which the model goes on with; empty unless it is echoed.
    pub echo: String,
    /// How its text is read.
    pub reading: Reading,
}

/// The answer as events.
#[derive(Debug)]
pub struct Chunks {
    told: Told,
    head: Vec<u8>,
    /// One a choice; none when text is nothing but text.
    readers: Vec<Reader>,
}

/// What a chunk tells of a choice.
#[derive(Clone, Copy, Default)]
struct Part<'a> {
    delta: Delta<'a>,
    settled: &'a [Settled],
    token: Option<u32>,
    end: Option<&'a End>,
}

impl Part<'_> {
    /// Whether there is anything to tell beside the delta.
    fn tells_more(&self, answer: &Answer) -> bool {
        self.end.is_some()
            || (answer.form.logprobs.wanted && !self.settled.is_empty())
            || (answer.form.token_ids && self.token.is_some())
    }
}

#[derive(Clone, Copy, Default)]
enum Delta<'a> {
    #[default]
    Empty,
    /// The first one of a choice, with the text that is echoed.
    Role(&'a str),
    Text(&'a str),
    Said(&'a Said),
}

/// How a choice ends for a client.
#[must_use]
pub fn reason(end: &End, reading: &Reading, calls: usize) -> &'static str {
    match end {
        End::StopToken(_) | End::StopString(_) if calls > 0 && !reading.is_named() => "tool_calls",
        end => finish_reason(end),
    }
}

impl Chunks {
    /// Before the first event.
    #[must_use]
    pub fn new(told: Told) -> Self {
        Self {
            head: told.answer.envelope.chunk_head("chat.completion.chunk"),
            told,
            readers: Vec::new(),
        }
    }

    /// One event with one choice.
    fn chunk(&self, out: &mut BytesMut, running: &Running, choice: usize, part: Part<'_>) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(b"{\"index\":");
        put_number(out, choice);
        out.extend_from_slice(b",\"delta\":{");
        put_delta(out, part.delta);
        let answer = &self.told.answer;
        let logprobs = answer.form.logprobs;
        if logprobs.wanted && !part.settled.is_empty() {
            let mut told = ChatLogprobs::default();
            told.extend(answer.names(running.tokenizer()), part.settled, logprobs.top);
            out.extend_from_slice(b"},\"logprobs\":");
            put_json(out, &told);
        } else {
            out.extend_from_slice(b"},\"logprobs\":null");
        }
        let calls = self.readers.get(choice).map_or(0, Reader::calls);
        let end = part.end.map(|end| (end, reason(end, &self.told.reading, calls)));
        answer.put_choice_end(out, end, part.token.as_slice());
        let begins = matches!(part.delta, Delta::Role(_));
        if let Some(ids) = answer.prompt_ids(0).filter(|_| begins) {
            out.extend_from_slice(b",\"prompt_token_ids\":");
            put_json(out, &ids);
        }
        answer.form.put_chunk_usage(out, || self.usage(running));
        out.extend_from_slice(b"}\n\n");
    }

    /// One event for each thing that was said; what else there is to tell goes with the first one,
    /// and the end with the last.
    fn chunks(&self, out: &mut BytesMut, running: &Running, choice: usize, said: &[Said], part: Part<'_>) {
        let mut part = part;
        let end = part.end.take();
        let mut told = said.iter().filter(|said| **said != Said::CallEnd).peekable();
        if told.peek().is_none() && part.tells_more(&self.told.answer) && end.is_none() {
            return self.chunk(out, running, choice, part);
        }
        for said in told {
            let more = std::mem::take(&mut part);
            let delta = Delta::Said(said);
            self.chunk(out, running, choice, Part { delta, ..more });
        }
        if end.is_some() {
            self.chunk(out, running, choice, Part { end, ..part });
        }
    }

    fn usage(&self, running: &Running) -> Usage {
        let tokens = self.readers.iter().map(Reader::reasoning_tokens).sum();
        Usage::of(running.accounts()).with_reasoning(self.told.reading.reasons().then_some(tokens))
    }

    /// Takes a piece of a choice's text; `None` when text is nothing but text.
    fn read(&mut self, running: &Running, choice: usize, text: &str, over: bool) -> Option<Vec<Said>> {
        let ids = &running.app().ids;
        let reader = self.readers.get_mut(choice)?;
        if !over {
            return Some(reader.token(text, ids));
        }
        let mut said = reader.text(text, ids);
        said.extend(reader.finish(ids));
        Some(said)
    }
}

impl Spelling for Chunks {
    fn begin(&mut self, out: &mut BytesMut, running: &Running) {
        if !self.told.reading.is_plain() {
            self.readers = (0..running.choices())
                .map(|_| self.told.reading.reader())
                .collect();
        }
        for choice in 0..running.choices() {
            let part = Part {
                delta: Delta::Role(&self.told.echo),
                ..Part::default()
            };
            self.chunk(out, running, choice, part);
        }
    }

    fn event(&mut self, out: &mut BytesMut, running: &Running, choice: usize, event: ChoiceEvent) {
        match event {
            ChoiceEvent::Started { .. } | ChoiceEvent::Prompt(_) => {}
            ChoiceEvent::Token(event) => {
                let part = Part {
                    delta: Delta::Text(&event.text),
                    settled: &event.settled,
                    token: Some(event.token.id),
                    ..Part::default()
                };
                match self.read(running, choice, &event.text, false) {
                    None => self.chunk(out, running, choice, part),
                    Some(said) => {
                        let delta = Delta::Empty;
                        self.chunks(out, running, choice, &said, Part { delta, ..part });
                    }
                }
            }
            ChoiceEvent::Finished { end, text, settled } => {
                let part = Part {
                    delta: Delta::Empty,
                    settled: &settled,
                    end: Some(&end),
                    ..Part::default()
                };
                match self.read(running, choice, &text, true) {
                    Some(said) => self.chunks(out, running, choice, &said, part),
                    None if text.is_empty() => self.chunk(out, running, choice, part),
                    None => {
                        let delta = Delta::Text(&text);
                        self.chunk(out, running, choice, Part { delta, ..part });
                    }
                }
            }
        }
    }

    fn end(&mut self, out: &mut BytesMut, running: &Running) {
        let form = self.told.answer.form;
        form.put_usage_chunk(out, &self.head, || self.usage(running));
        out.extend_from_slice(DONE);
    }

    fn failed(&mut self, out: &mut BytesMut, error: &ApiError) {
        put_error(out, error, Dialect::OpenAi);
        out.extend_from_slice(DONE);
    }
}

/// `delta.tool_calls[0]` where the call begins, and where it goes on.
#[derive(Serialize)]
struct Call<'a> {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

/// The fields of a delta.
fn put_delta(out: &mut BytesMut, delta: Delta<'_>) {
    match delta {
        Delta::Empty | Delta::Said(Said::CallEnd) => {}
        Delta::Role(echo) => put_field(out, b"\"role\":\"assistant\",\"content\":", echo),
        Delta::Text(text) => put_field(out, b"\"content\":", text),
        Delta::Said(Said::Text(text)) => put_field(out, b"\"content\":", text),
        Delta::Said(Said::Reasoning(text)) => put_field(out, b"\"reasoning\":", text),
        Delta::Said(Said::Call { index, id, name }) => put_call(
            out,
            &Call {
                index: *index,
                id: Some(id),
                r#type: Some("function"),
                function: Function {
                    name: Some(name),
                    arguments: "",
                },
            },
        ),
        Delta::Said(Said::Arguments { index, text }) => put_call(
            out,
            &Call {
                index: *index,
                id: None,
                r#type: None,
                function: Function {
                    name: None,
                    arguments: text,
                },
            },
        ),
    }
}

fn put_field(out: &mut BytesMut, name: &[u8], text: &str) {
    out.extend_from_slice(name);
    put_json(out, text);
}

fn put_call(out: &mut BytesMut, call: &Call<'_>) {
    out.extend_from_slice(b"\"tool_calls\":[");
    put_json(out, call);
    out.extend_from_slice(b"]");
}
