//! Pieces of answers that chat and completions share.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{BufMut, BytesMut};
use schemars::JsonSchema;
use serde::Serialize;

use crate::http::openai::form::AnswerForm;
use crate::session::{Accounts, End};

/// `system_fingerprint`: which server answers.
pub const FINGERPRINT: &str = concat!("shardline-", env!("CARGO_PKG_VERSION"));

/// The last event of every stream under `/v1`.
pub const DONE: &[u8] = b"data: [DONE]\n\n";

/// Tokens of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Usage {
    prompt_tokens: u32,
    completion_tokens: u32,
    total_tokens: u32,
    prompt_tokens_details: PromptDetails,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
struct PromptDetails {
    cached_tokens: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
struct CompletionDetails {
    reasoning_tokens: u32,
}

impl Usage {
    /// With the tokens of the reasoning, which are among those of the completion.
    #[must_use]
    pub fn with_reasoning(mut self, reasoning_tokens: Option<u32>) -> Self {
        self.completion_tokens_details =
            reasoning_tokens.map(|reasoning_tokens| CompletionDetails { reasoning_tokens });
        self
    }

    /// What was used so far.
    #[must_use]
    pub fn of(accounts: &Accounts) -> Self {
        Self {
            prompt_tokens: accounts.prompt_tokens,
            completion_tokens: accounts.generated_tokens,
            total_tokens: accounts.prompt_tokens.saturating_add(accounts.generated_tokens),
            prompt_tokens_details: PromptDetails {
                cached_tokens: accounts.cached_tokens,
            },
            completion_tokens_details: None,
        }
    }
}

/// What is the same in an answer and in all chunks of a stream.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// `chatcmpl-…` or `cmpl-…`.
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// As served, whatever the client called it.
    pub model: String,
}

impl Envelope {
    /// A new answer.
    #[must_use]
    pub fn new(prefix: &str, id: &str, model: &str) -> Self {
        let created = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        Self {
            id: format!("{prefix}-{id}"),
            created,
            model: model.to_owned(),
        }
    }

    /// The text of a chunk up to its `choices`, written once a stream.
    #[must_use]
    pub fn chunk_head(&self, object: &'static str) -> Vec<u8> {
        #[derive(Serialize)]
        struct Head<'a> {
            id: &'a str,
            object: &'static str,
            created: u64,
            model: &'a str,
            system_fingerprint: &'static str,
        }
        let head = Head {
            id: &self.id,
            object,
            created: self.created,
            model: &self.model,
            system_fingerprint: FINGERPRINT,
        };
        let mut text = b"data: ".to_vec();
        text.extend(serde_json::to_vec(&head).unwrap_or_default());
        // The object stays open for `choices`.
        text.pop();
        text.extend_from_slice(b",\"choices\":[");
        text
    }
}

impl AnswerForm {
    /// The `usage` field of a chunk with tokens, when the client asked for such fields.
    pub fn put_chunk_usage(&self, out: &mut BytesMut, usage: impl FnOnce() -> Usage) {
        if self.continuous_usage {
            out.extend_from_slice(b",\"usage\":");
            put_json(out, &usage());
        } else if self.include_usage {
            out.extend_from_slice(b",\"usage\":null");
        }
    }

    /// The chunk that holds nothing but the usage.
    pub fn put_usage_chunk(&self, out: &mut BytesMut, head: &[u8], usage: impl FnOnce() -> Usage) {
        if self.include_usage {
            out.extend_from_slice(head);
            out.extend_from_slice(b"],\"usage\":");
            put_json(out, &usage());
            out.extend_from_slice(b"}\n\n");
        }
    }
}

/// `finish_reason` on `/v1`.
#[must_use]
pub fn finish_reason(end: &End) -> &'static str {
    match end {
        End::StopToken(_) | End::StopString(_) => "stop",
        End::Length => "length",
        End::Failed(_) => "abort",
    }
}

/// Which stop string or token ended the text; null for EOS and for everything else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum StopReason {
    /// A token of the request's own.
    Token(u32),
    /// A string.
    Text(String),
}

impl StopReason {
    /// What `stop_reason` says.
    #[must_use]
    pub fn of(end: &End, strings: &[String], own_tokens: &[u32]) -> Option<Self> {
        match end {
            End::StopString(hit) => strings.get(hit.index).cloned().map(Self::Text),
            End::StopToken(id) if own_tokens.contains(id) => Some(Self::Token(*id)),
            _ => None,
        }
    }
}

/// Appends any value as JSON.
pub fn put_json<T: Serialize + ?Sized>(out: &mut BytesMut, value: &T) {
    // Buffers take all that is written, and the shapes here are plain structs and strings.
    let _ = serde_json::to_writer(out.writer(), value);
}

/// Appends a small number.
pub fn put_number(out: &mut BytesMut, value: usize) {
    if let Ok(digit @ 0..=9) = u8::try_from(value) {
        out.put_u8(b'0' + digit);
    } else {
        put_json(out, &value);
    }
}
