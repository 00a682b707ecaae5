//! From a conversation to the prompt's text and token ids.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use shardline_text::{ChatRequest, ModelText, RenderedChat, TemplateError};

use crate::http::conversation::described::{describe, text_of};
use crate::http::conversation::tools::Tools;
use crate::http::conversation::types::Message;
use crate::http::conversation::validate::Conversation;
use crate::http::error::ApiError;
use crate::http::prompt;

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
    let told = conversation.tools.as_ref().map(Tools::told).unwrap_or_default();
    let knows_tools = model
        .templates
        .as_ref()
        .is_some_and(|templates| templates.tells_tools());
    let prompt = conversation.tool_prompt.as_deref();
    let messages = if knows_tools {
        with_prompt(conversation.messages, prompt.filter(|_| !told.is_empty()))
    } else {
        describe(conversation.messages, told, prompt)
    };
    let tools = (knows_tools && !told.is_empty())
        .then(|| told.iter().map(|tool| tool.definition().clone()).collect());
    let request = ChatRequest {
        messages: messages.into_iter().map(Value::Object).collect(),
        tools,
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

/// The client's words about the tools go behind its last message.
fn with_prompt(mut messages: Vec<Message>, prompt: Option<&str>) -> Vec<Message> {
    if let (Some(message), Some(prompt)) = (messages.last_mut(), prompt) {
        let text = format!("{}\n---\n{prompt}", text_of(message));
        message.insert("content".to_owned(), Value::String(text));
    }
    messages
}

/// Token ids of a rendered prompt.
///
/// # Errors
/// When it cannot be tokenised.
pub fn encode(model: &ModelText, rendered: &Rendered) -> Result<Vec<u32>, ApiError> {
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
