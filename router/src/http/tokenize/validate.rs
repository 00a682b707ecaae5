//! The rules of the routes that tokenise and nothing else.

use crate::http::body::JsonBody;
use crate::http::check;
use crate::http::conversation::{self, Conversation};
use crate::http::error::{ApiError, Rule};
use crate::http::fields::{self, Ignored};
use crate::http::model::ServedName;
use crate::http::tokenize::types::{Body, ChatBody, DetokenizeBody};

/// Most ids of one request; a body of the usual limit holds no more.
const MAX_TOKENS: usize = 1 << 20;

/// What is to be tokenised, and how it is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// Each token with its place.
    Places(String),
    /// Ids of a text.
    Text(String),
    /// Ids of a conversation.
    Messages(Box<Conversation>),
}

/// A request that keeps every rule.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenizeRequest {
    pub(super) asked: Asked,
    /// Whether the tokenizer adds BOS to a text.
    pub(super) add_special_tokens: bool,
    /// Tell spellings too.
    pub(super) spellings: bool,
    pub(super) ignored: Ignored,
}

/// Checks the body of `POST /tokenize`.
///
/// # Errors
/// With the first field at fault.
pub fn tokenize(body: &JsonBody, name: &ServedName) -> Result<TokenizeRequest, ApiError> {
    let ((text, conversation), ignored) = fields::read::<Body>(body, &[])?;
    name.check(text.model.as_deref())?;
    let add_special_tokens = conversation.add_special_tokens.unwrap_or(true);
    let asked = match (text.inputs, text.prompt, &conversation.messages) {
        (Some(inputs), None, None) => Asked::Places(not_empty("inputs", inputs)?),
        (None, Some(prompt), None) => Asked::Text(not_empty("prompt", prompt)?),
        (None, None, Some(_)) => Asked::Messages(Box::new(conversation::validate(conversation)?)),
        (None, None, None) => return Err(ApiError::missing("inputs")),
        (_, prompt, _) => {
            let param = if prompt.is_some() { "prompt" } else { "messages" };
            let message = "`inputs`, `prompt` and `messages` exclude each other; send one of them";
            return Err(ApiError::invalid(param, Rule::Conflict, message));
        }
    };
    Ok(TokenizeRequest {
        asked,
        add_special_tokens,
        spellings: text.return_token_strs.unwrap_or(false),
        ignored,
    })
}

fn not_empty(param: &str, text: String) -> Result<String, ApiError> {
    if text.is_empty() {
        return Err(ApiError::invalid(
            param,
            Rule::Missing,
            format!("`{param}` cannot be empty"),
        ));
    }
    Ok(text)
}

/// Checks the body of `POST /chat_tokenize`.
///
/// # Errors
/// With the first field at fault.
pub fn chat_tokenize(body: &JsonBody, name: &ServedName) -> Result<Conversation, ApiError> {
    // A whole chat request may be sent; how it would be answered does not matter here.
    let ((model, conversation), _) = fields::read::<ChatBody>(body, &[])?;
    name.check(model.model.as_deref())?;
    conversation::validate(conversation)
}

/// What is to be turned into text.
#[derive(Clone, Debug, PartialEq)]
pub struct DetokenizeRequest {
    pub(super) tokens: Vec<u32>,
    pub(super) skip_special_tokens: bool,
    pub(super) ignored: Ignored,
}

/// Checks the body of `POST /detokenize`. Ids are below `vocab_size`.
///
/// # Errors
/// With the first field at fault.
pub fn detokenize(
    body: &JsonBody,
    name: &ServedName,
    vocab_size: u32,
) -> Result<DetokenizeRequest, ApiError> {
    let ((fields,), ignored) = fields::read::<DetokenizeBody>(body, &[])?;
    name.check(fields.model.as_deref())?;
    let tokens = fields.tokens.ok_or_else(|| ApiError::missing("tokens"))?;
    check::count("tokens", tokens.len(), MAX_TOKENS)?;
    Ok(DetokenizeRequest {
        tokens: check::tokens("tokens", &tokens, vocab_size)?,
        skip_special_tokens: fields.skip_special_tokens.unwrap_or(false),
        ignored,
    })
}
