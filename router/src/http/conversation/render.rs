//! From a conversation to the prompt's text and token ids.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use shardline_text::{ChatRequest, ModelText, RenderedChat, TemplateError};

use crate::http::conversation::validate::Conversation;
use crate::http::decoding::Limits;
use crate::http::error::ApiError;
use crate::http::prompt::{self, Origin};

/// A prompt as the template wrote it.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// Which of its parts must stay text.
    pub chat: RenderedChat,
    /// All of it.
    pub text: String,
    add_special_tokens: bool,
}

/// Runs the chat template.
///
/// # Errors
/// When the model has none, or it refuses the messages.
pub fn render(model: &ModelText, conversation: Conversation) -> Result<Rendered, ApiError> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let request = ChatRequest {
        messages: conversation.messages.into_iter().map(Value::Object).collect(),
        documents: conversation.documents,
        add_generation_prompt: conversation.add_generation_prompt,
        continue_final_message: conversation.continue_final_message,
        template_kwargs: conversation.template_variables,
        now_unix_s: i64::try_from(now).unwrap_or(i64::MAX),
        ..ChatRequest::default()
    };
    let chat = model.render_chat(&request).map_err(|error| refused(&error))?;
    Ok(Rendered {
        text: chat.text(),
        chat,
        add_special_tokens: conversation.add_special_tokens,
    })
}

/// Token ids of a rendered prompt. With `limits` a text that cannot fit is refused before the work
/// is done.
///
/// # Errors
/// When it cannot fit, or cannot be tokenised.
pub fn encode(model: &ModelText, rendered: &Rendered, limits: Option<&Limits>) -> Result<Vec<u32>, ApiError> {
    if let Some(limits) = limits {
        prompt::check_bytes(model, &rendered.text, limits, Origin::Chat)?;
    }
    let ids = model
        .encode_chat(&rendered.chat)
        .map_err(|error| prompt::not_encoded(&error))?;
    Ok(if rendered.add_special_tokens {
        model.tokenizer.surround(ids)
    } else {
        ids
    })
}

fn refused(error: &TemplateError) -> ApiError {
    ApiError::Template {
        message: error.to_string(),
    }
}
