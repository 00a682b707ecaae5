//! The body of `POST /v1/responses`, as clients send it.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::http::fields::{Inside, names};
use crate::http::numbers::Integer;
use crate::http::openai::types::{InertFields, SamplingFields};
use crate::http::unbuilt::{Harmless, Unbuilt};

/// Everything is optional and null is absent; the rules are in `validate`, and those of sampling
/// are shared with the other routes.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(expecting = "an object")]
pub struct ResponsesFields {
    /// Absent, empty, `tgi`, `dummy` and the own name are the base model.
    pub model: Option<String>,
    /// Needed: a text, or a list of items.
    pub input: Option<Value>,
    /// What the model is told before all else.
    pub instructions: Option<String>,
    /// Tokens to generate.
    pub max_output_tokens: Option<Integer>,
    /// Server-sent events.
    pub stream: Option<bool>,
    /// Functions.
    pub tools: Option<Vec<Map<String, Value>>>,
    /// auto, none, required, or a function.
    pub tool_choice: Option<Value>,
    /// Whether an answer may hold more than one call; `true`.
    pub parallel_tool_calls: Option<bool>,
    /// The form of the text.
    pub text: Option<TextFields>,
    /// How much to reason.
    pub reasoning: Option<ReasoningFields>,
    /// Told back as they are.
    pub metadata: Option<Map<String, Value>>,
    /// Calls of the provider's own tools at most, of which there are none; told back.
    pub max_tool_calls: Option<Integer>,
    /// Only for `stream`.
    #[allow(dead_code, reason = "only its type is checked")]
    pub stream_options: Option<StreamFields>,
    /// Tokens that the model may reason at most; then it has to answer. -1 is no limit.
    pub thinking_token_budget: Option<Integer>,
    /// What an answer tells beside its items: `message.output_text.logprobs`. Reasoning is told in
    /// full, so `reasoning.encrypted_content` adds nothing.
    pub include: Option<Vec<String>>,
    /// Tell the log-probabilities of this many most likely tokens, too; only with
    /// `message.output_text.logprobs`. -1 is as many as there are.
    pub top_logprobs: Option<Integer>,
    /// What is done when the input does not fit: `disabled` refuses it; `auto` leaves out items at its
    /// beginning until it does.
    pub truncation: Option<String>,
    /// Where the provider caches; here every full block of a prompt is cached.
    pub prompt_cache_options: Option<CacheFields>,
}

/// Everything that the body may hold.
pub type Body = (ResponsesFields, SamplingFields, InertFields);

/// `text`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(expecting = "an object")]
pub struct TextFields {
    /// text, json_object or json_schema
    pub format: Option<Map<String, Value>>,
    /// How much the model should say: low, medium or high; the template reads it.
    pub verbosity: Option<String>,
}

/// `reasoning`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(expecting = "an object")]
pub struct ReasoningFields {
    /// none, minimal, low, medium, high, xhigh
    pub effort: Option<String>,
}

/// `prompt_cache_options`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(expecting = "an object")]
pub struct CacheFields {
    /// Whether nothing is wanted but a cached prompt.
    pub prewarm: Option<bool>,
}

/// `stream_options`
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(expecting = "an object")]
pub struct StreamFields {
    /// Random text that hides the length of what is said; nothing is added, whatever it says.
    #[allow(dead_code, reason = "only its type is checked")]
    pub include_obfuscation: Option<bool>,
}

/// Objects within the body whose fields are looked over too.
pub fn inside() -> [Inside; 3] {
    [
        ("text", names::<TextFields>()),
        ("reasoning", names::<ReasoningFields>()),
        ("stream_options", names::<StreamFields>()),
    ]
}

/// Fields of this route that are known and not built: nothing is kept between requests.
pub const UNBUILT: &[Unbuilt] = &[
    Unbuilt::always("previous_response_id").or("send the items of the earlier answers as `input`"),
    Unbuilt::always("conversation").or("send the items of the conversation as `input`"),
    Unbuilt::unless("store", &[Harmless::Bool(false)]).or("send false: nothing is stored"),
    Unbuilt::unless("background", &[Harmless::Bool(false)]).or("use `stream`"),
    Unbuilt::always("prompt").or("send `instructions` and `input`"),
    Unbuilt::unless("context_management", &[Harmless::EmptyList]).or("send less input"),
    Unbuilt::always("moderation"),
    Unbuilt::unless("n", &[Harmless::Number(1.0)]).or("send several requests"),
];
