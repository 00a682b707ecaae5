//! How the native routes spell their answers.

use bytes::BytesMut;
use serde::Serialize;

use crate::engine::api::GeneratedToken;
use crate::http::error::ApiError;
use crate::http::generate::shapes::{Token, finish_reason};
use crate::http::generate::validate::GenerateRequest;
use crate::http::openai::shapes::put_json;
use crate::http::problem::Dialect;
use crate::http::running::Running;
use crate::http::sse::{Spelling, put_error};
use crate::session::{ChoiceEvent, End, TextToken};

/// What both forms of the answer need.
#[derive(Debug)]
pub struct Answer {
    /// Goes before the text; empty unless the whole text is wanted.
    pub(super) before: String,
    /// Whether more than the text is told.
    pub(super) details: bool,
    /// How many of the most likely tokens are told in the place of each.
    pub(super) top_n_tokens: u32,
    /// As drawn with, one a choice; empty when nothing is drawn.
    pub(super) seeds: Vec<u64>,
}

impl Answer {
    /// Of a request; `full_text` is what counts when it says nothing.
    #[must_use]
    pub fn new(request: &GenerateRequest, full_text: bool) -> Self {
        let decoding = &request.decoding;
        let drawn = decoding.sampling.temperature > 0.0;
        let seeds = decoding.choice_seeds.iter().copied().chain(decoding.seed);
        Self {
            before: if request.return_full_text.unwrap_or(full_text) {
                request.inputs.clone()
            } else {
                String::new()
            },
            details: request.details,
            top_n_tokens: request.top_n_tokens,
            seeds: seeds.filter(|_| drawn).collect(),
        }
    }
}

/// The answer as events.
#[derive(Debug)]
pub struct Events {
    answer: Answer,
    text: String,
    index: u32,
    /// The last token, which is told together with the end.
    last: Option<TextToken>,
}

#[derive(Serialize)]
struct Event<'a> {
    index: u32,
    token: Token,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    top_tokens: Vec<Token>,
    generated_text: Option<&'a str>,
    details: Option<StreamDetails>,
}

#[derive(Serialize)]
struct StreamDetails {
    finish_reason: &'static str,
    generated_tokens: u32,
    seed: Option<u64>,
    input_length: u32,
}

impl Events {
    /// Before the first event.
    #[must_use]
    pub fn new(answer: Answer) -> Self {
        Self {
            text: answer.before.clone(),
            answer,
            index: 0,
            last: None,
        }
    }

    fn token(&mut self, out: &mut BytesMut, running: &Running, token: &TextToken, end: Option<&End>) {
        self.index += 1;
        let details = end.filter(|_| self.answer.details).map(|end| StreamDetails {
            finish_reason: finish_reason(end),
            generated_tokens: running.accounts().generated_tokens,
            seed: self.answer.seeds.first().copied(),
            input_length: running.accounts().prompt_tokens,
        });
        let event = Event {
            index: self.index,
            token: Token::new(running.tokenizer(), token),
            top_tokens: Token::top(running.tokenizer(), token, self.answer.top_n_tokens),
            generated_text: end.map(|_| self.text.as_str()),
            details,
        };
        out.extend_from_slice(b"data: ");
        put_json(out, &event);
        out.extend_from_slice(b"\n\n");
    }
}

impl Spelling for Events {
    fn begin(&mut self, _: &mut BytesMut, _: &Running) {}

    fn event(&mut self, out: &mut BytesMut, running: &Running, _: usize, event: ChoiceEvent) {
        match event {
            ChoiceEvent::Started { .. } | ChoiceEvent::Prompt(_) => {}
            ChoiceEvent::Token(token) => {
                self.text.push_str(&token.text);
                if let Some(earlier) = self.last.replace(token) {
                    self.token(out, running, &earlier, None);
                }
                if let Some(token) = self.last.take_if(|token| !token.last) {
                    self.token(out, running, &token, None);
                }
            }
            ChoiceEvent::Finished { end, text, .. } => {
                self.text.push_str(&text);
                // An end that nobody foresaw has no token of its own: it comes with an empty one.
                let mut token = self.last.take().unwrap_or_else(|| ended(&end));
                token.text.push_str(&text);
                self.token(out, running, &token, Some(&end));
            }
        }
    }

    fn end(&mut self, _: &mut BytesMut, _: &Running) {}

    fn failed(&mut self, out: &mut BytesMut, error: &ApiError) {
        put_error(out, error, Dialect::Native);
    }
}

fn ended(end: &End) -> TextToken {
    let id = if let End::StopToken(id) = end { *id } else { 0 };
    let token = GeneratedToken {
        id,
        logprob: None,
        top: Vec::new(),
    };
    TextToken {
        token,
        text: String::new(),
        settled: Vec::new(),
        last: true,
    }
}
