//! How the answer of `POST /v1/chat/completions` is spelled, in one piece.

use schemars::JsonSchema;
use serde::Serialize;

use crate::http::chat::stream::{Told, reason};
use crate::http::conversation::{Heard, HeardCall, Listener};
use crate::http::error::ApiError;
use crate::http::openai;
use crate::http::openai::answer::TokenIds;
use crate::http::openai::collect::{Collected, Piece};
use crate::http::openai::logprobs::ChatLogprobs;
use crate::http::openai::prompt_logprobs::{PromptLogprobs, prompt_logprobs};
use crate::http::openai::shapes::{FINGERPRINT, StopReason, Usage};
use crate::http::running::Running;

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
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_token_ids: Option<TokenIds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_logprobs: Option<PromptLogprobs>,
}

#[derive(Serialize, JsonSchema)]
struct Choice {
    index: usize,
    message: AssistantMessage,
    logprobs: Option<ChatLogprobs>,
    finish_reason: &'static str,
    stop_reason: Option<StopReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_ids: Option<Vec<u32>>,
}

#[derive(Serialize, JsonSchema)]
struct AssistantMessage {
    role: &'static str,
    /// Null when there is something else and no text.
    content: Option<String>,
    refusal: Option<()>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall>,
}

#[derive(Serialize, JsonSchema)]
struct ToolCall {
    id: String,
    r#type: &'static str,
    function: Function,
}

#[derive(Serialize, JsonSchema)]
struct Function {
    name: String,
    arguments: String,
}

impl From<HeardCall> for ToolCall {
    fn from(call: HeardCall) -> Self {
        Self {
            id: call.id,
            r#type: "function",
            function: Function {
                name: call.name,
                arguments: call.arguments,
            },
        }
    }
}

impl AssistantMessage {
    /// `echo`: the beginning of the message, which the model went on with.
    fn new(heard: Heard, echo: &str) -> Self {
        let (reasoning, text, calls) = heard.sorted();
        let reasoning = Some(reasoning).filter(|text| !text.is_empty());
        let text = format!("{echo}{text}");
        let silent = text.is_empty() && (reasoning.is_some() || !calls.is_empty());
        Self {
            role: "assistant",
            content: Some(text).filter(|_| !silent),
            refusal: None,
            reasoning,
            tool_calls: calls.into_iter().map(ToolCall::from).collect(),
        }
    }
}

/// Collects the whole answer.
///
/// # Errors
/// When a choice fails: a part of an answer is none.
pub async fn collect(running: &mut Running, told: &Told) -> Result<Vec<u8>, ApiError> {
    let answer = &told.answer;
    let mut listeners: Vec<Listener> = (0..running.choices())
        .map(|_| Listener::new(told.reading.reader()))
        .collect();
    let app = running.app().clone();
    let listen = |index: usize, piece: Piece<'_>| {
        if let Some(listener) = listeners.get_mut(index) {
            match piece {
                Piece::Token(text) => listener.token(text, &app.ids),
                Piece::End(text) => listener.end(text, &app.ids),
            }
        }
    };
    let collected = openai::collect::collect(running, answer, listen).await?;
    let prompt = collected.first().map_or(&[][..], |choice| &choice.prompt_tokens);
    let prompt_logprobs = answer
        .form
        .logprobs
        .prompt
        .map(|top| prompt_logprobs(running.tokenizer(), prompt, top));
    let mut reasoning_tokens = 0;
    let mut choices = Vec::with_capacity(collected.len());
    for (index, (choice, listener)) in collected.into_iter().zip(listeners).enumerate() {
        let (heard, tokens) = listener.heard();
        reasoning_tokens += tokens;
        choices.push(spell(index, choice, heard, running, told));
    }
    let reasoning_tokens = told.reading.reasons().then_some(reasoning_tokens);
    let body = Completion {
        id: &answer.envelope.id,
        object: "chat.completion",
        created: answer.envelope.created,
        model: &answer.envelope.model,
        system_fingerprint: FINGERPRINT,
        choices,
        usage: Usage::of(running.accounts()).with_reasoning(reasoning_tokens),
        prompt_token_ids: answer.prompt_ids(0),
        prompt_logprobs,
    };
    serde_json::to_vec(&body).map_err(|error| ApiError::Internal {
        cause: error.to_string(),
    })
}

fn spell(index: usize, choice: Collected, heard: Heard, running: &Running, told: &Told) -> Choice {
    let logprobs = told.answer.form.logprobs;
    let message = AssistantMessage::new(heard, &told.echo);
    Choice {
        index,
        logprobs: logprobs.wanted.then(|| {
            let mut all = ChatLogprobs::default();
            let names = told.answer.names(running.tokenizer());
            all.extend(names, &choice.settled, logprobs.top);
            all
        }),
        finish_reason: choice.end.as_ref().map_or("abort", |end| {
            reason(end, &told.reading, message.tool_calls.len())
        }),
        message,
        stop_reason: choice.stop_reason,
        token_ids: choice.token_ids,
    }
}
