//! A conversation as clients send it.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::http::numbers::Integer;

/// A message as it was sent: a template may read any of its fields.
pub type Message = Map<String, Value>;

/// The fields of a body that make the prompt.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(expecting = "an object")]
pub struct ConversationFields {
    /// Needed, not empty.
    pub messages: Option<Vec<Message>>,
    /// Documents to answer from, for templates that know them.
    pub documents: Option<Vec<Map<String, Value>>>,
    /// Whether the template opens an answer; `true` unless the last message is continued.
    pub add_generation_prompt: Option<bool>,
    /// Whether the answer goes on with the last message.
    pub continue_final_message: Option<bool>,
    /// Whether the tokenizer adds BOS before what the template wrote; `false`, as templates do it.
    pub add_special_tokens: Option<bool>,
    /// Tools that the model may call, each a function.
    pub tools: Option<Vec<Map<String, Value>>>,
    /// auto, none, required, or a tool by its name.
    pub tool_choice: Option<Value>,
    /// Whether an answer may hold more than one call; `true`.
    pub parallel_tool_calls: Option<bool>,
    /// What the model is told before the tools, or of them.
    pub tool_prompt: Option<String>,
    /// Whether the answer tells the model's reasoning; `true`.
    pub include_reasoning: Option<bool>,
    /// How much the model should reason; the template reads it.
    pub reasoning_effort: Option<String>,
    /// Tokens that the model may reason at most; then it has to answer. -1 is no limit.
    pub thinking_token_budget: Option<Integer>,
    /// How much the model should say: low, medium or high; the template reads it.
    pub verbosity: Option<String>,
    /// Further variables of the template.
    pub chat_template_kwargs: Option<Map<String, Value>>,
}
