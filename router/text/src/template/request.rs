//! What is rendered, and what comes out.

use serde_json::{Map, Value};

use crate::tokenizer::{TokenizeError, Tokenizer};

/// Messages to turn into a prompt, as they stand in the request's JSON.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChatRequest {
    /// Objects with `role`, `content`, `tool_calls`, …
    pub messages: Vec<Value>,
    /// JSON schemas of functions; `None`: no tools.
    pub tools: Option<Vec<Value>>,
    /// Documents to answer from, for templates that know them.
    pub documents: Option<Vec<Value>>,
    /// End with the beginning of an answer of the assistant.
    pub add_generation_prompt: bool,
    /// End within the last message, so that the model goes on with it.
    pub continue_final_message: bool,
    /// Further variables (`chat_template_kwargs`); they come before those of the same name.
    pub template_kwargs: Map<String, Value>,
    /// Which of several templates; `None`: "tool_use" with tools, "rag" with documents, else "default".
    pub template_name: Option<String>,
    /// For `strftime_now`, in seconds since 1970 (UTC).
    pub now_unix_s: i64,
}

/// A prompt that knows which of its parts must stay text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RenderedChat {
    pub(super) segments: Vec<Segment>,
}

/// A part of a prompt. Parts are encoded one by one, so nothing forms a token across two of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its text.
    pub text: String,
    /// Whether it spells a control token but comes from a user, and stays text.
    pub plain: bool,
}

impl RenderedChat {
    /// The whole prompt.
    pub fn text(&self) -> String {
        self.segments
            .iter()
            .map(|segment| segment.text.as_str())
            .collect()
    }

    /// Its parts.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }
}

impl Tokenizer {
    /// The token ids of a rendered prompt. The template writes BOS itself, so none is added.
    pub fn encode_chat(&self, chat: &RenderedChat) -> Result<Vec<u32>, TokenizeError> {
        let mut ids = Vec::new();
        let stretches = chat
            .segments
            .iter()
            .map(|segment| (segment.text.as_str(), segment.plain));
        self.encode_stretches(stretches, false, &mut ids)?;
        Ok(ids)
    }
}
