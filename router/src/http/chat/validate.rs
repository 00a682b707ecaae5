//! The rules of `POST /v1/chat/completions`.

use std::sync::Arc;

use crate::http::body::JsonBody;
use crate::http::chat::types::{Body, ChatFields, UNBUILT};
use crate::http::conversation::{self, Conversation};
use crate::http::decoding::{Decoding, Limits};
use crate::http::error::{ApiError, Rule};
use crate::http::fields::{self, Ignored};
use crate::http::openai::form::{AnswerForm, Logprobs, answer_form};
use crate::http::openai::prompt_fields;
use crate::http::openai::types::{UNBUILT as SHARED_UNBUILT, inside};
use crate::http::openai::validate::{self as shared, Asked};
use crate::http::prompt::Truncation;
use crate::http::request_id;
use crate::http::rules::Rules;
use crate::http::structure;

/// A request that keeps every rule.
#[derive(Clone, Debug)]
pub struct ChatRequest {
    /// In which form the answer comes.
    pub(super) form: AnswerForm,
    /// The prompt.
    pub(super) conversation: Conversation,
    /// How a prompt that is too long is cut.
    pub(super) truncation: Option<Truncation>,
    /// Goes before the answer.
    pub(super) echo: String,
    /// How tokens are drawn.
    pub(super) decoding: Decoding,
    /// As the body names it.
    pub(super) request_id: Option<Arc<str>>,
    /// Fields of the body without effect.
    pub(super) ignored: Ignored,
}

/// Parses and checks a body.
///
/// # Errors
/// With the first field at fault.
pub fn validate(body: &JsonBody, rules: Rules<'_>) -> Result<ChatRequest, ApiError> {
    let (fields, ignored) = fields::read_with::<Body>(body, &[UNBUILT, SHARED_UNBUILT], &inside())?;
    let (chat, conversation, answer, prompt, sampling, structure, _) = fields;
    let logprobs = Logprobs {
        prompt: prompt_fields::prompt_logprobs(&prompt, rules.limits)?,
        ..logprobs(&chat, rules.limits)?
    };
    let form = answer_form(&answer, logprobs, rules.name)?;
    let asked = Asked {
        max_new_tokens: shared::max_tokens(chat.max_completion_tokens, chat.max_tokens, 1, rules.limits)?,
        default_max_new_tokens: rules.defaults.max_new_tokens.filter(|tokens| *tokens > 0),
        logprobs,
        cache_salt: shared::cache_salt(sampling.cache_salt.as_deref(), rules.ids)?,
        structure: structure::openai(structure)?,
        ..Asked::default()
    };
    let conversation = conversation::validate(conversation)?;
    let echo = if chat.echo.unwrap_or(false) {
        conversation.last_of_assistant().unwrap_or_default().to_owned()
    } else {
        String::new()
    };
    Ok(ChatRequest {
        request_id: request_id::field(answer.request_id.as_deref())?,
        ignored,
        form,
        conversation,
        truncation: prompt_fields::truncation(&prompt, asked.max_new_tokens, rules.limits)?,
        echo,
        decoding: shared::decoding(sampling, asked, rules.limits, rules.defaults)?,
    })
}

fn logprobs(chat: &ChatFields, limits: &Limits) -> Result<Logprobs, ApiError> {
    let wanted = chat.logprobs.unwrap_or(false);
    let top = prompt_fields::top("top_logprobs", chat.top_logprobs, limits)?.unwrap_or(0);
    if top > 0 && !wanted {
        let message = "`top_logprobs` needs `logprobs`: true";
        return Err(ApiError::invalid("top_logprobs", Rule::Conflict, message));
    }
    Ok(Logprobs {
        wanted,
        top,
        prompt: None,
    })
}
