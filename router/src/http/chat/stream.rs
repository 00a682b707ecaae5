//! How the answer of `POST /v1/chat/completions` is spelled.

use bytes::BytesMut;
use serde::Serialize;

use crate::http::error::ApiError;
use crate::http::openai;
use crate::http::openai::answer::{Answer, TokenIds};
use crate::http::openai::logprobs::ChatLogprobs;
use crate::http::openai::prompt_logprobs::{PromptLogprobs, prompt_logprobs};
use crate::http::openai::shapes::{DONE, FINGERPRINT, StopReason, Usage, put_json, put_number};
use crate::http::problem::Dialect;
use crate::http::running::Running;
use crate::http::sse::{Spelling, put_error};
use crate::session::{ChoiceEvent, End, Settled};

/// An answer with what only chats have.
#[derive(Debug)]
pub struct Echoing {
    /// What it has in common with others.
    pub answer: Answer,
    /// The beginning of the message, which the model goes on with; empty unless it is echoed.
    pub echo: String,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_token_ids: Option<TokenIds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_logprobs: Option<PromptLogprobs>,
}

#[derive(Serialize)]
struct Choice {
    index: usize,
    message: AssistantMessage,
    logprobs: Option<ChatLogprobs>,
    finish_reason: &'static str,
    stop_reason: Option<StopReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_ids: Option<Vec<u32>>,
}

#[derive(Serialize)]
struct AssistantMessage {
    role: &'static str,
    content: String,
    refusal: Option<()>,
}

/// Collects the whole answer.
///
/// # Errors
/// When a choice fails: a part of an answer is none.
pub async fn collect(running: &mut Running, echoing: &Echoing) -> Result<Vec<u8>, ApiError> {
    let Echoing { answer, echo } = echoing;
    let collected = openai::collect::collect(running, answer).await?;
    let logprobs = answer.form.logprobs;
    let prompt = collected.first().map_or(&[][..], |choice| &choice.prompt_tokens);
    let prompt_logprobs = logprobs
        .prompt
        .map(|top| prompt_logprobs(running.tokenizer(), prompt, top));
    let choices = collected
        .into_iter()
        .enumerate()
        .map(|(index, choice)| Choice {
            index,
            logprobs: logprobs.wanted.then(|| {
                let mut told = ChatLogprobs::default();
                told.extend(answer.names(running.tokenizer()), &choice.settled, logprobs.top);
                told
            }),
            message: AssistantMessage {
                role: "assistant",
                content: format!("{echo}{}", choice.text),
                refusal: None,
            },
            finish_reason: choice.finish_reason,
            stop_reason: choice.stop_reason,
            token_ids: choice.token_ids,
        })
        .collect();
    let body = Completion {
        id: &answer.envelope.id,
        object: "chat.completion",
        created: answer.envelope.created,
        model: &answer.envelope.model,
        system_fingerprint: FINGERPRINT,
        choices,
        usage: Usage::of(running.accounts()),
        prompt_token_ids: answer.prompt_ids(0),
        prompt_logprobs,
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
    /// `None`: an empty delta.
    text: Option<&'a str>,
    /// Whether the delta names the role.
    role: bool,
    settled: &'a [Settled],
    token: Option<u32>,
    end: Option<&'a End>,
}

impl Chunks {
    /// Before the first event.
    #[must_use]
    pub fn new(echoing: Echoing) -> Self {
        Self {
            head: echoing.answer.envelope.chunk_head("chat.completion.chunk"),
            echoing,
        }
    }

    /// One event with one choice.
    fn chunk(&self, out: &mut BytesMut, running: &Running, choice: usize, part: Part<'_>) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(b"{\"index\":");
        put_number(out, choice);
        out.extend_from_slice(b",\"delta\":{");
        if part.role {
            out.extend_from_slice(b"\"role\":\"assistant\",");
        }
        if let Some(text) = part.text {
            out.extend_from_slice(b"\"content\":");
            put_json(out, text);
        }
        let answer = &self.echoing.answer;
        let logprobs = answer.form.logprobs;
        if logprobs.wanted && !part.settled.is_empty() {
            let mut told = ChatLogprobs::default();
            told.extend(answer.names(running.tokenizer()), part.settled, logprobs.top);
            out.extend_from_slice(b"},\"logprobs\":");
            put_json(out, &told);
        } else {
            out.extend_from_slice(b"},\"logprobs\":null");
        }
        answer.put_choice_end(out, part.end, part.token.as_slice());
        if let Some(ids) = answer.prompt_ids(0).filter(|_| part.role) {
            out.extend_from_slice(b",\"prompt_token_ids\":");
            put_json(out, &ids);
        }
        answer.form.put_chunk_usage(out, running);
        out.extend_from_slice(b"}\n\n");
    }
}

impl Spelling for Chunks {
    fn begin(&mut self, out: &mut BytesMut, running: &Running) {
        for choice in 0..running.choices() {
            let part = Part {
                text: Some(&self.echoing.echo),
                role: true,
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
                    text: Some(&event.text),
                    settled: &event.settled,
                    token: Some(event.token.id),
                    ..Part::default()
                };
                self.chunk(out, running, choice, part);
            }
            ChoiceEvent::Finished { end, text, settled } => {
                let part = Part {
                    text: if text.is_empty() { None } else { Some(&text) },
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
