//! The body of `POST /v1/chat/completions`, as clients send it.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::http::numbers::Integer;
use crate::http::unbuilt::{Harmless, Unbuilt};

/// A message as it was sent: a template may read any of its fields.
pub type Message = Map<String, Value>;

/// Fields that only this route has.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ChatFields {
    /// Needed, not empty.
    pub messages: Option<Vec<Message>>,
    /// Tokens to generate.
    pub max_completion_tokens: Option<Integer>,
    /// Its older name.
    pub max_tokens: Option<Integer>,
    /// Return each token's log-probability.
    pub logprobs: Option<bool>,
    /// And those of this many most likely ones; -1 is as many as there are.
    pub top_logprobs: Option<Integer>,
    /// Whether the template opens an answer; `true` unless the last message is continued.
    pub add_generation_prompt: Option<bool>,
    /// Whether the answer goes on with the last message.
    pub continue_final_message: Option<bool>,
    /// Further variables of the template.
    pub chat_template_kwargs: Option<Map<String, Value>>,
}

/// Fields of this route that are known and not built.
pub const UNBUILT: &[Unbuilt] = &[
    Unbuilt::always("tools"),
    Unbuilt::unless("tool_choice", &[Harmless::Text("none"), Harmless::Text("auto")]),
    Unbuilt::always("tool_prompt"),
    Unbuilt::always("functions"),
    Unbuilt::unless("function_call", &[Harmless::Text("none"), Harmless::Text("auto")]),
    Unbuilt::unless(
        "parallel_tool_calls",
        &[Harmless::Bool(true), Harmless::Bool(false)],
    ),
    Unbuilt::unless("reasoning_effort", &[Harmless::Text("none")]),
    Unbuilt::unless("include_reasoning", &[Harmless::Bool(true)]),
    Unbuilt::always("audio").or("ask for text alone"),
    Unbuilt::always("prediction"),
    Unbuilt::always("web_search_options"),
    Unbuilt::unless("documents", &[Harmless::EmptyList]),
    Unbuilt::always("chat_template").or("the model's own template is used"),
    Unbuilt::unless("mm_processor_kwargs", &[Harmless::EmptyObject]),
    Unbuilt::unless("media_io_kwargs", &[Harmless::EmptyObject]),
    Unbuilt::unless("add_special_tokens", &[Harmless::Bool(false)]).or("the template writes them"),
    Unbuilt::unless("echo", &[Harmless::Bool(false)]),
];
