//! How the answer of `POST /v1/completions` is spelled.

use bytes::BytesMut;
use serde::Serialize;

use crate::http::error::ApiError;
use crate::http::openai;
use crate::http::openai::answer::{Answer, TokenIds};
use crate::http::openai::logprobs::CompletionLogprobs;
use crate::http::openai::shapes::{DONE, FINGERPRINT, StopReason, Usage, put_json, put_number};
use crate::http::problem::Dialect;
use crate::http::running::Running;
use crate::http::sse::{Spelling, put_error};
use crate::session::{ChoiceEvent, End, Settled};

/// An answer with what only completions have.
#[derive(Debug)]
pub struct Echoing {
    /// What it has in common with others.
    pub answer: Answer,
    /// Prompts as texts, one a prompt; empty when they are not echoed.
    pub echo: Vec<String>,
}

impl Echoing {
    fn echoed(&self, choice: usize) -> &str {
        self.echo
            .get(self.answer.prompt_of(choice))
            .map_or("", String::as_str)
    }

    fn logprobs_of(&self, running: &Running, settled: &[Settled]) -> Option<CompletionLogprobs> {
        self.answer.logprobs.then(|| {
            let mut logprobs = CompletionLogprobs::default();
            logprobs.extend(running.tokenizer(), settled, self.answer.top_logprobs);
            logprobs
        })
    }
}

#[derive(Serialize)]
struct Completion<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'static str,
    choices: Vec<Choice>,
    usage: Usage,
}

#[derive(Serialize)]
struct Choice {
    index: usize,
    text: String,
    logprobs: Option<CompletionLogprobs>,
    finish_reason: &'static str,
    stop_reason: Option<StopReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_ids: Option<Vec<u32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_token_ids: Option<TokenIds>,
}

/// Collects the whole answer.
///
/// # Errors
/// When a choice fails: a part of an answer is none.
pub async fn collect(mut running: Running, echoing: &Echoing) -> Result<Vec<u8>, ApiError> {
    let answer = &echoing.answer;
    let collected = openai::collect::collect(&mut running, answer).await?;
    let choices = collected
        .into_iter()
        .enumerate()
        .map(|(index, choice)| Choice {
            index,
            text: echoing.echoed(index).to_owned() + &choice.text,
            logprobs: echoing.logprobs_of(&running, &choice.settled),
            finish_reason: choice.finish_reason,
            stop_reason: choice.stop_reason,
            token_ids: choice.token_ids,
            prompt_token_ids: answer.prompt_ids(index),
        })
        .collect();
    let body = Completion {
        id: &answer.envelope.id,
        object: "text_completion",
        created: answer.envelope.created,
        model: &answer.envelope.model,
        system_fingerprint: FINGERPRINT,
        choices,
        usage: Usage::of(running.accounts()),
    };
    serde_json::to_vec(&body).map_err(|error| ApiError::Internal {
        cause: error.to_string(),
    })
}

/// The answer as events.
#[derive(Debug)]
pub struct Chunks {
    echoing: Echoing,
    head: Vec<u8>,
}

/// What a chunk tells of a choice.
#[derive(Clone, Copy, Default)]
struct Part<'a> {
    text: &'a str,
    settled: &'a [Settled],
    token: Option<u32>,
    end: Option<&'a End>,
    /// Whether it is the chunk before all tokens.
    opening: bool,
}

impl Chunks {
    /// Before the first event.
    #[must_use]
    pub fn new(echoing: Echoing) -> Self {
        Self {
            head: echoing.answer.envelope.chunk_head("text_completion"),
            echoing,
        }
    }

    /// One event with one choice.
    fn chunk(&self, out: &mut BytesMut, running: &Running, choice: usize, part: Part<'_>) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(b"{\"index\":");
        put_number(out, choice);
        out.extend_from_slice(b",\"text\":");
        put_json(out, part.text);
        match self.echoing.logprobs_of(running, part.settled) {
            Some(logprobs) if !part.settled.is_empty() => {
                out.extend_from_slice(b",\"logprobs\":");
                put_json(out, &logprobs);
            }
            _ => out.extend_from_slice(b",\"logprobs\":null"),
        }
        let answer = &self.echoing.answer;
        if let Some(ids) = answer.prompt_ids(choice).filter(|_| part.opening) {
            out.extend_from_slice(b",\"prompt_token_ids\":");
            put_json(out, &ids);
        }
        answer.put_choice_end(out, part.end, part.token.as_slice());
        answer.form.put_chunk_usage(out, running);
        out.extend_from_slice(b"}\n\n");
    }
}

impl Spelling for Chunks {
    /// Only for what stands before the tokens: an echo, the prompt's token ids.
    fn begin(&mut self, out: &mut BytesMut, running: &Running) {
        for choice in 0..running.choices() {
            let text = self.echoing.echoed(choice);
            if !text.is_empty() || self.echoing.answer.form.token_ids {
                let part = Part {
                    text,
                    opening: true,
                    ..Part::default()
                };
                self.chunk(out, running, choice, part);
            }
        }
    }

    fn event(&mut self, out: &mut BytesMut, running: &Running, choice: usize, event: ChoiceEvent) {
        match event {
            ChoiceEvent::Started { .. } => {}
            ChoiceEvent::Token(event) => {
                let part = Part {
                    text: &event.text,
                    settled: &event.settled,
                    token: Some(event.token.id),
                    ..Part::default()
                };
                self.chunk(out, running, choice, part);
            }
            ChoiceEvent::Finished { end, text, settled } => {
                let part = Part {
                    text: &text,
                    settled: &settled,
                    end: Some(&end),
                    ..Part::default()
                };
                self.chunk(out, running, choice, part);
            }
        }
    }

    fn end(&mut self, out: &mut BytesMut, running: &Running) {
        self.echoing.answer.form.put_usage_chunk(out, &self.head, running);
        out.extend_from_slice(DONE);
    }

    fn failed(&mut self, out: &mut BytesMut, error: &ApiError) {
        put_error(out, error, Dialect::OpenAi);
        out.extend_from_slice(DONE);
    }
}
