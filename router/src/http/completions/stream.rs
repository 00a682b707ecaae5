//! How the answer of `POST /v1/completions` is spelled.

use bytes::BytesMut;
use schemars::JsonSchema;
use serde::Serialize;

use crate::engine::api::PromptToken;
use crate::http::error::ApiError;
use crate::http::openai;
use crate::http::openai::answer::{Answer, TokenIds};
use crate::http::openai::collect::Collected;
use crate::http::openai::logprobs::CompletionLogprobs;
use crate::http::openai::prompt_logprobs::{PromptLogprobs, prompt_logprobs};
use crate::http::openai::shapes::{
    DONE, FINGERPRINT, StopReason, Usage, finish_reason, put_json, put_number,
};
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
    /// Choices a prompt that are answered; more may run.
    pub n: usize,
}

impl Echoing {
    fn echoed(&self, prompt: usize) -> &str {
        self.echo.get(prompt).map_or("", String::as_str)
    }

    /// Whether an echo comes with log-probabilities, which are there before the first token.
    fn scored(&self) -> bool {
        self.answer.form.logprobs.wanted && !self.echo.is_empty()
    }

    /// Log-probabilities of an echo's tokens.
    fn echo_logprobs(&self, running: &Running, prompt: usize, tokens: &[PromptToken]) -> CompletionLogprobs {
        let mut logprobs = CompletionLogprobs::default();
        let names = self.answer.names(running.tokenizer());
        logprobs.extend_prompt(names, self.echoed(prompt), tokens, self.answer.form.logprobs.top);
        logprobs
    }

    /// Adds those of the answer's tokens, whose text stands behind the echo.
    fn extend(
        &self,
        logprobs: &mut CompletionLogprobs,
        running: &Running,
        prompt: usize,
        settled: &[Settled],
    ) {
        let before = self.echoed(prompt).chars().count();
        let names = self.answer.names(running.tokenizer());
        let offset = u32::try_from(before).unwrap_or(u32::MAX);
        logprobs.extend(names, settled, offset, self.answer.form.logprobs.top);
    }
}

/// The whole answer.
#[derive(Serialize, JsonSchema)]
pub struct Completion<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'static str,
    choices: Vec<Choice>,
    usage: Usage,
}

#[derive(Serialize, JsonSchema)]
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
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_logprobs: Option<PromptLogprobs>,
}

/// Collects the whole answer.
///
/// # Errors
/// When a choice fails: a part of an answer is none.
pub async fn collect(running: &mut Running, echoing: &Echoing) -> Result<Vec<u8>, ApiError> {
    let answer = &echoing.answer;
    let collected = openai::collect::collect(running, answer, |_, _| {}).await?;
    let answered = if answer.choices_per_prompt() > echoing.n {
        openai::collect::best(collected, echoing.n)
    } else {
        collected
    };
    let choices = answered
        .into_iter()
        .enumerate()
        .map(|(index, choice)| Choice {
            index,
            logprobs: answer.form.logprobs.wanted.then(|| {
                let mut logprobs =
                    echoing.echo_logprobs(running, choice.prompt, echo_tokens(echoing, &choice));
                echoing.extend(&mut logprobs, running, choice.prompt, &choice.settled);
                logprobs
            }),
            text: echoing.echoed(choice.prompt).to_owned() + &choice.text,
            finish_reason: choice.finish_reason,
            stop_reason: choice.stop_reason,
            token_ids: choice.token_ids,
            prompt_token_ids: answer.prompt_ids(choice.prompt),
            prompt_logprobs: answer
                .form
                .logprobs
                .prompt
                .map(|top| prompt_logprobs(running.tokenizer(), &choice.prompt_tokens, top)),
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

/// The tokens of the echo, when there is one.
fn echo_tokens<'a>(echoing: &Echoing, choice: &'a Collected) -> &'a [PromptToken] {
    if echoing.scored() {
        &choice.prompt_tokens
    } else {
        &[]
    }
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
    /// Tokens of the echo.
    prompt: &'a [PromptToken],
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
        let answer = &self.echoing.answer;
        let prompt = answer.prompt_of(choice);
        if answer.form.logprobs.wanted && (!part.settled.is_empty() || !part.prompt.is_empty()) {
            let mut logprobs = self.echoing.echo_logprobs(running, prompt, part.prompt);
            self.echoing.extend(&mut logprobs, running, prompt, part.settled);
            out.extend_from_slice(b",\"logprobs\":");
            put_json(out, &logprobs);
        } else {
            out.extend_from_slice(b",\"logprobs\":null");
        }
        if let Some(ids) = answer.prompt_ids(prompt).filter(|_| part.opening) {
            out.extend_from_slice(b",\"prompt_token_ids\":");
            put_json(out, &ids);
        }
        let end = part.end.map(|end| (end, finish_reason(end)));
        answer.put_choice_end(out, end, part.token.as_slice());
        answer.form.put_chunk_usage(out, || Usage::of(running.accounts()));
        out.extend_from_slice(b"}\n\n");
    }
}

impl Spelling for Chunks {
    /// Only for what stands before the tokens: an echo, the prompt's token ids.
    fn begin(&mut self, out: &mut BytesMut, running: &Running) {
        // A scored echo comes with its scores, choice by choice.
        let choices = if self.echoing.scored() {
            0
        } else {
            running.choices()
        };
        for choice in 0..choices {
            let text = self.echoing.echoed(self.echoing.answer.prompt_of(choice));
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
            ChoiceEvent::Prompt(tokens) if self.echoing.scored() => {
                let part = Part {
                    text: self.echoing.echoed(self.echoing.answer.prompt_of(choice)),
                    prompt: &tokens,
                    opening: true,
                    ..Part::default()
                };
                self.chunk(out, running, choice, part);
            }
            ChoiceEvent::Prompt(_) => {}
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
        self.echoing
            .answer
            .form
            .put_usage_chunk(out, &self.head, || Usage::of(running.accounts()));
        out.extend_from_slice(DONE);
    }

    fn failed(&mut self, out: &mut BytesMut, error: &ApiError) {
        put_error(out, error, Dialect::OpenAi);
        out.extend_from_slice(DONE);
    }
}
