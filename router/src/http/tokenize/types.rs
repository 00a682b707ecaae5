//! The bodies of `POST /tokenize`, `/detokenize` and `/chat_tokenize`, and their answers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shardline_text::OffsetToken;

use crate::http::conversation::ConversationFields;
use crate::http::numbers::Integer;

/// `POST /tokenize`: `inputs` asks for text-generation-inference's answer, `prompt` or `messages`
/// for vLLM's.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(expecting = "an object")]
pub struct TokenizeFields {
    /// A text, to be answered with the place of each token.
    pub inputs: Option<String>,
    /// A text, to be answered with ids.
    pub prompt: Option<String>,
    /// Absent, empty, `tgi`, `dummy` and the own name are the base model.
    pub model: Option<String>,
    /// Tell the tokens' spellings beside their ids.
    pub return_token_strs: Option<bool>,
}

/// Everything that the body of `POST /tokenize` may hold.
pub type Body = (TokenizeFields, ConversationFields);

/// `POST /detokenize`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(expecting = "an object")]
pub struct DetokenizeFields {
    /// Ids of the vocabulary.
    pub tokens: Option<Vec<Integer>>,
    /// As in `/tokenize`.
    pub model: Option<String>,
    /// Leave special tokens out of the text; `false`.
    pub skip_special_tokens: Option<bool>,
}

/// Everything that the body of `POST /detokenize` may hold.
pub type DetokenizeBody = (DetokenizeFields,);

/// Which model a conversation is for.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(expecting = "an object")]
pub struct ModelFields {
    /// As in `/tokenize`.
    pub model: Option<String>,
}

/// Everything that the body of `POST /chat_tokenize` may hold and that counts there.
pub type ChatBody = (ModelFields, ConversationFields);

/// A token and the characters that it stands for.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Token {
    id: u32,
    text: String,
    start: u32,
    stop: u32,
}

impl From<OffsetToken> for Token {
    fn from(token: OffsetToken) -> Self {
        Self {
            id: token.id,
            text: token.text,
            start: token.start,
            stop: token.stop,
        }
    }
}

/// Ids alone.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Tokens {
    /// How many.
    pub count: usize,
    /// Most tokens of a sequence; null while the model loads.
    pub max_model_len: Option<u32>,
    /// The ids.
    pub tokens: Vec<u32>,
    /// Their spellings in the vocabulary, when they are wanted.
    pub token_strs: Option<Vec<String>>,
}

/// Either answer of `POST /tokenize`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Tokenized {
    /// To `inputs`.
    Places(Vec<Token>),
    /// To `prompt` and `messages`.
    Ids(Tokens),
}

/// The answer of `POST /detokenize`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Detokenized {
    /// The text.
    pub prompt: String,
}

/// The answer of `POST /chat_tokenize`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ChatTokenized {
    /// The prompt's tokens.
    pub tokenize_response: Vec<Token>,
    /// The prompt as the template wrote it.
    pub templated_text: String,
}
