//! The work itself, done where texts are tokenised.

use shardline_text::ModelText;

use crate::http::conversation::{self, Conversation};
use crate::http::error::ApiError;
use crate::http::prompt;
use crate::http::tokenize::types::{ChatTokenized, Tokenized, Tokens};
use crate::http::tokenize::validate::{Asked, TokenizeRequest};

/// Tokens of what was asked for. `max_model_len`: most tokens of a sequence.
///
/// # Errors
/// When the template refuses the messages, or the tokenizer the text.
pub fn tokenize(
    model: &ModelText,
    request: TokenizeRequest,
    max_model_len: Option<u32>,
) -> Result<Tokenized, ApiError> {
    let special = request.add_special_tokens;
    let tokens = match request.asked {
        Asked::Places(text) => {
            let tokens = model
                .tokenizer
                .encode_with_offsets(&text, special)
                .map_err(|error| prompt::not_encoded(&error))?;
            return Ok(Tokenized::Places(tokens.into_iter().map(Into::into).collect()));
        }
        Asked::Text(text) => prompt::encode_text(model, &text, special)?,
        Asked::Messages(conversation) => {
            let rendered = conversation::render(model, *conversation)?;
            conversation::encode(model, &rendered)?
        }
    };
    let spelling = |id: &u32| model.tokenizer.token_spelling(*id).unwrap_or_default();
    Ok(Tokenized::Ids(Tokens {
        count: tokens.len(),
        max_model_len,
        token_strs: request.spellings.then(|| tokens.iter().map(spelling).collect()),
        tokens,
    }))
}

/// The prompt of a conversation with its tokens: those that a chat would run, text of users that
/// spells a control token included.
///
/// # Errors
/// As `tokenize`.
pub fn chat_tokenize(model: &ModelText, conversation: Conversation) -> Result<ChatTokenized, ApiError> {
    let rendered = conversation::render(model, conversation)?;
    let ids = conversation::encode(model, &rendered)?;
    let tokens = model.tokenizer.align(&rendered.text, &ids);
    Ok(ChatTokenized {
        tokenize_response: tokens.into_iter().map(Into::into).collect(),
        templated_text: rendered.text,
    })
}
