//! How the answer of `POST /v1/completions` is spelled.

use bytes::BytesMut;
use serde::Serialize;

use crate::http::completions::validate::CompletionRequest;
use crate::http::error::{ApiError, Dialect};
use crate::http::openai::logprobs::CompletionLogprobs;
use crate::http::openai::shapes::{
    DONE, Envelope, FINGERPRINT, StopReason, Usage, finish_reason, put_json, put_number,
};
use crate::http::openai::validate::AnswerForm;
use crate::http::running::Running;
use crate::http::sse::{Spelling, put_error};
use crate::session::{ChoiceEvent, End, Settled};

/// What both forms of the answer need.
#[derive(Debug)]
pub struct Answer {
    envelope: Envelope,
    form: AnswerForm,
    /// Prompts as texts when they are to be echoed, one a prompt.
    echo: Vec<String>,
    choices_per_prompt: usize,
    logprobs: bool,
    top_logprobs: u32,
    stop_strings: Vec<String>,
    stop_token_ids: Vec<u32>,
}

impl Answer {
    /// Of a request; `echo`: the prompts' texts, empty when they are not echoed.
    #[must_use]
    pub fn new(envelope: Envelope, request: &CompletionRequest, echo: Vec<String>) -> Self {
        Self {
            envelope,
            form: request.form,
            echo,
            choices_per_prompt: request.decoding.choices as usize,
            logprobs: request.decoding.sampling.logprobs,
            top_logprobs: request.decoding.sampling.top_logprobs,
            stop_strings: request.decoding.stop.strings.clone(),
            stop_token_ids: request.decoding.stop_token_ids.clone(),
        }
    }

    fn echoed(&self, choice: usize) -> &str {
        self.echo
            .get(choice / self.choices_per_prompt.max(1))
            .map_or("", String::as_str)
    }

    fn logprobs_of(&self, running: &Running, settled: &[Settled]) -> Option<CompletionLogprobs> {
        self.logprobs.then(|| {
            let mut logprobs = CompletionLogprobs::default();
            logprobs.extend(running.tokenizer(), settled, self.top_logprobs, 0);
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
}

/// Collects the whole answer.
///
/// # Errors
/// When a choice fails: a part of an answer is none.
pub async fn collect(mut running: Running, answer: &Answer) -> Result<Vec<u8>, ApiError> {
    let mut choices: Vec<Choice> = (0..running.choices())
        .map(|index| Choice {
            index,
            text: answer.echoed(index).to_owned(),
            logprobs: answer.logprobs_of(&running, &[]),
            finish_reason: "",
            stop_reason: None,
        })
        .collect();
    while let Some((index, event)) = running.next().await {
        let Some(choice) = choices.get_mut(index) else {
            continue;
        };
        let (text, settled) = match event {
            ChoiceEvent::Started { .. } => continue,
            ChoiceEvent::Token(token) => (token.text, token.settled),
            ChoiceEvent::Finished {
                end: End::Failed(finish),
                ..
            } => return Err(running.fail(&finish)),
            ChoiceEvent::Finished { end, text, settled } => {
                choice.finish_reason = finish_reason(&end);
                choice.stop_reason = StopReason::of(&end, &answer.stop_strings, &answer.stop_token_ids);
                (text, settled)
            }
        };
        choice.text.push_str(&text);
        if let Some(logprobs) = &mut choice.logprobs {
            logprobs.extend(running.tokenizer(), &settled, answer.top_logprobs, 0);
        }
    }
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
    answer: Answer,
    head: Vec<u8>,
}

impl Chunks {
    /// Before the first event.
    #[must_use]
    pub fn new(answer: Answer) -> Self {
        Self {
            head: answer.envelope.chunk_head("text_completion"),
            answer,
        }
    }

    /// One event with one choice.
    fn chunk(&self, out: &mut BytesMut, running: &Running, choice: usize, part: Part<'_>) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(b"{\"index\":");
        put_number(out, choice);
        out.extend_from_slice(b",\"text\":");
        put_json(out, part.text);
        match self.answer.logprobs_of(running, part.settled) {
            Some(logprobs) if !part.settled.is_empty() => {
                out.extend_from_slice(b",\"logprobs\":");
                put_json(out, &logprobs);
            }
            _ => out.extend_from_slice(b",\"logprobs\":null"),
        }
        match part.end {
            None => out.extend_from_slice(b",\"finish_reason\":null}]"),
            Some(end) => {
                out.extend_from_slice(b",\"finish_reason\":");
                put_json(out, finish_reason(end));
                out.extend_from_slice(b",\"stop_reason\":");
                put_json(
                    out,
                    &StopReason::of(end, &self.answer.stop_strings, &self.answer.stop_token_ids),
                );
                out.extend_from_slice(b"}]");
            }
        }
        self.answer.form.put_chunk_usage(out, running);
        out.extend_from_slice(b"}\n\n");
    }
}

/// What a chunk tells of a choice.
struct Part<'a> {
    text: &'a str,
    settled: &'a [Settled],
    end: Option<&'a End>,
}

impl Spelling for Chunks {
    fn begin(&mut self, out: &mut BytesMut, running: &Running) {
        for choice in 0..running.choices() {
            let text = self.answer.echoed(choice);
            if !text.is_empty() {
                self.chunk(
                    out,
                    running,
                    choice,
                    Part {
                        text,
                        settled: &[],
                        end: None,
                    },
                );
            }
        }
    }

    fn event(&mut self, out: &mut BytesMut, running: &Running, choice: usize, event: ChoiceEvent) {
        match event {
            ChoiceEvent::Started { .. } => {}
            ChoiceEvent::Token(token) => {
                let part = Part {
                    text: &token.text,
                    settled: &token.settled,
                    end: None,
                };
                self.chunk(out, running, choice, part);
            }
            ChoiceEvent::Finished { end, text, settled } => {
                let part = Part {
                    text: &text,
                    settled: &settled,
                    end: Some(&end),
                };
                self.chunk(out, running, choice, part);
            }
        }
    }

    fn end(&mut self, out: &mut BytesMut, running: &Running) {
        self.answer.form.put_usage_chunk(out, &self.head, running);
        out.extend_from_slice(DONE);
    }

    fn failed(&mut self, out: &mut BytesMut, error: &ApiError) {
        put_error(out, error, Dialect::OpenAi);
        out.extend_from_slice(DONE);
    }
}
