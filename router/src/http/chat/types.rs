//! The body of `POST /v1/chat/completions`, as clients send it.

use serde::Deserialize;

use crate::http::numbers::Integer;
use crate::http::unbuilt::{Harmless, Unbuilt};

/// Fields that only this route has; the conversation has its own.
#[derive(Clone, Debug, Default, Deserialize)]
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

/// Fields of this route that are known and not built.
pub const UNBUILT: &[Unbuilt] = &[
    Unbuilt::always("functions").or("use `tools`"),
    Unbuilt::unless("function_call", &[Harmless::Text("none"), Harmless::Text("auto")]),
    Unbuilt::always("audio").or("ask for text alone"),
    Unbuilt::always("prediction"),
    Unbuilt::always("web_search_options"),
    Unbuilt::always("chat_template").or("the model's own template is used"),
    Unbuilt::unless("mm_processor_kwargs", &[Harmless::EmptyObject]),
    Unbuilt::unless("media_io_kwargs", &[Harmless::EmptyObject]),
    Unbuilt::unless("best_of", &[Harmless::Number(1.0)]).or("use `n`"),
];
