//! The body of `POST /v1/chat/completions`, as clients send it.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::http::conversation::ConversationFields;
use crate::http::numbers::Integer;
use crate::http::openai::types::{AnswerFields, InertFields, PromptFields, SamplingFields};
use crate::http::structure::StructureFields;
use crate::http::unbuilt::{Harmless, Unbuilt};

/// Fields that only this route has; the conversation has its own.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(expecting = "an object")]
pub struct ChatFields {
    /// Tokens to generate.
    pub max_completion_tokens: Option<Integer>,
    /// Its older name.
    pub max_tokens: Option<Integer>,
    /// Return each token's log-probability.
    pub logprobs: Option<bool>,
    /// And those of this many most likely ones; -1 is as many as there are.
    pub top_logprobs: Option<Integer>,
    /// Put the message that is continued before the answer.
    pub echo: Option<bool>,
}

/// Everything that the body may hold.
pub type Body = (
    ChatFields,
    ConversationFields,
    AnswerFields,
    PromptFields,
    SamplingFields,
    StructureFields,
    InertFields,
);

/// Fields of this route that are known and not built.
pub const UNBUILT: &[Unbuilt] = &[
    Unbuilt::always("functions").or("use `tools`"),
    Unbuilt::unless("function_call", &[Harmless::Text("none"), Harmless::Text("auto")]),
    Unbuilt::always("audio").or("ask for text alone"),
    Unbuilt::unless("modalities", &[Harmless::TextsAmong(&["text"])]).or("ask for text alone"),
    Unbuilt::always("moderation"),
    Unbuilt::always("web_search_options"),
    Unbuilt::always("chat_template").or("the model's own template is used"),
    Unbuilt::unless("mm_processor_kwargs", &[Harmless::EmptyObject]),
    Unbuilt::unless("media_io_kwargs", &[Harmless::EmptyObject]),
    Unbuilt::unless("best_of", &[Harmless::Number(1.0)]).or("use `n`"),
];
