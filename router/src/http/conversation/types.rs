//! A conversation as clients send it.

use serde::Deserialize;
use serde_json::{Map, Value};

/// A message as it was sent: a template may read any of its fields.
pub type Message = Map<String, Value>;

/// The fields of a body that make the prompt.
#[derive(Clone, Debug, Default, Deserialize)]
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
    /// Further variables of the template.
    pub chat_template_kwargs: Option<Map<String, Value>>,
}
