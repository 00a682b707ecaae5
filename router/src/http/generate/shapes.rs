//! The pieces of native answers.

use schemars::JsonSchema;
use serde::Serialize;
use shardline_text::Tokenizer;

use crate::engine::api::PromptToken;
use crate::session::{End, TextToken};

/// An answer in one piece.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Generated {
    /// All of it.
    pub generated_text: String,
    /// `None` unless they are wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
}

/// What is told of the sequence that is answered.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Details {
    /// Of that sequence.
    #[serde(flatten)]
    pub sequence: Sequence,
    /// Of those that were less likely.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub best_of_sequences: Vec<OtherSequence>,
}

/// A sequence that was generated and not answered.
#[derive(Debug, Serialize, JsonSchema)]
pub struct OtherSequence {
    /// All of it.
    pub generated_text: String,
    /// The rest.
    #[serde(flatten)]
    pub sequence: Sequence,
}

/// What is told of a sequence.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Sequence {
    /// `length`, `eos_token` or `stop_sequence`.
    pub finish_reason: &'static str,
    /// The stop token included.
    pub generated_tokens: u32,
    /// As drawn with; `None` when nothing is drawn.
    pub seed: Option<u64>,
    /// The prompt; empty unless it is wanted.
    pub prefill: Vec<PrefillToken>,
    /// What was generated.
    pub tokens: Vec<Token>,
    /// The most likely tokens in the place of each; empty unless they are wanted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub top_tokens: Vec<Vec<Token>>,
}

/// A token of the prompt.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PrefillToken {
    id: u32,
    text: String,
    /// Null for the first one.
    logprob: Option<f32>,
}

/// A token of the answer.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Token {
    id: u32,
    text: String,
    logprob: Option<f32>,
    special: bool,
}

impl PrefillToken {
    /// A token of the prompt.
    #[must_use]
    pub fn new(tokenizer: &Tokenizer, token: &PromptToken) -> Self {
        Self {
            id: token.id,
            text: tokenizer.token_text(token.id),
            logprob: token.logprob,
        }
    }
}

impl Token {
    /// A special token is told by its spelling, which is no part of the text.
    #[must_use]
    pub fn new(tokenizer: &Tokenizer, event: &TextToken) -> Self {
        let special = tokenizer.is_special(event.token.id);
        let text = if special {
            tokenizer.token_text(event.token.id)
        } else {
            event.text.clone()
        };
        Self {
            id: event.token.id,
            text,
            logprob: event.token.logprob,
            special,
        }
    }

    /// The `most` likeliest tokens in the place of one.
    #[must_use]
    pub fn top(tokenizer: &Tokenizer, event: &TextToken, most: u32) -> Vec<Self> {
        let top = event.token.top.iter().take(most as usize);
        top.map(|(id, logprob)| Self {
            id: *id,
            text: tokenizer.token_text(*id),
            logprob: Some(*logprob),
            special: tokenizer.is_special(*id),
        })
        .collect()
    }
}

/// What the native routes call an end.
#[must_use]
pub fn finish_reason(end: &End) -> &'static str {
    match end {
        End::StopToken(_) => "eos_token",
        End::StopString(_) => "stop_sequence",
        End::Length | End::Failed(_) => "length",
    }
}
