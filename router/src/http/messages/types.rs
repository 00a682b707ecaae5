//! The body of `POST /v1/messages`, as clients of Anthropic's interface send it.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::http::fields::{Inside, names};
use crate::http::numbers::{Integer, Number};
use crate::http::openai::types::InertFields;
use crate::http::unbuilt::{Harmless, Unbuilt};

/// Everything is optional and null is absent; the rules are in `validate`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(expecting = "an object")]
pub struct MessagesFields {
    /// Needed.
    pub model: Option<String>,
    /// Needed, not empty.
    pub messages: Option<Vec<Map<String, Value>>>,
    /// Needed but to count tokens.
    pub max_tokens: Option<Integer>,
    /// Text, or a list of blocks of text.
    pub system: Option<Value>,
    /// Strings at which the answer ends.
    pub stop_sequences: Option<Vec<String>>,
    /// Server-sent events.
    pub stream: Option<bool>,
    /// 0 is greedy.
    pub temperature: Option<Number>,
    /// 1 is off.
    pub top_p: Option<Number>,
    /// 0 and -1 are off.
    pub top_k: Option<Integer>,
    /// Tools with `name`, `description` and `input_schema`.
    pub tools: Option<Vec<Map<String, Value>>>,
    /// auto, any, tool or none.
    pub tool_choice: Option<ToolChoiceFields>,
    /// Whether to reason aloud.
    pub thinking: Option<ThinkingFields>,
    /// How much effort to take, and what the answer must look like.
    pub output_config: Option<OutputFields>,
    /// The older place of `output_config.format`.
    pub output_format: Option<FormatFields>,
    /// Where the provider caches; here every full block of a prompt is cached.
    #[allow(dead_code, reason = "only its type is checked")]
    pub cache_control: Option<Map<String, Value>>,
    /// Further variables of the template.
    pub chat_template_kwargs: Option<Map<String, Value>>,
}

/// Everything that the body may hold.
pub type Body = (MessagesFields, InertFields);

/// `tool_choice`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(expecting = "an object")]
pub struct ToolChoiceFields {
    /// auto, any, tool, none
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// With `tool`.
    pub name: Option<String>,
    /// At most one call.
    pub disable_parallel_tool_use: Option<bool>,
}

/// `thinking`
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(expecting = "an object")]
pub struct ThinkingFields {
    /// enabled, disabled, adaptive
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// With `enabled`: tokens that the model may think at most; then it has to answer.
    pub budget_tokens: Option<Integer>,
    /// Whether the thinking is told: summarized, which is in full here, or omitted.
    pub display: Option<String>,
}

/// `output_config`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(expecting = "an object")]
pub struct OutputFields {
    /// low, medium, high, xhigh, max; the template reads it.
    pub effort: Option<String>,
    /// What the answer must look like.
    pub format: Option<FormatFields>,
}

/// `output_config.format`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(expecting = "an object")]
pub struct FormatFields {
    /// json_schema
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The schema.
    pub schema: Option<Value>,
}

/// Objects within the body whose fields are looked over too.
pub fn inside() -> [Inside; 3] {
    [
        ("thinking", names::<ThinkingFields>()),
        ("tool_choice", names::<ToolChoiceFields>()),
        ("output_config", names::<OutputFields>()),
    ]
}

/// Fields of this route that are known and not built.
pub const UNBUILT: &[Unbuilt] = &[
    Unbuilt::always("mcp_servers").or("call the servers from the client and send their tools"),
    Unbuilt::always("container"),
    Unbuilt::unless("context_management", &[Harmless::EmptyObject]).or("send fewer messages"),
    Unbuilt::always("kv_transfer_params"),
];
