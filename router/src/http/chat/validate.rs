//! The rules of `POST /v1/chat/completions`.

use crate::http::body::JsonBody;
use crate::http::chat::types::{ChatFields, UNBUILT};
use crate::http::conversation::{self, Conversation};
use crate::http::decoding::{Decoding, Limits};
use crate::http::error::{ApiError, Rule};
use crate::http::openai::form::{AnswerForm, Logprobs, answer_form};
use crate::http::openai::prompt_fields;
use crate::http::openai::types::{AnswerFields, PromptFields, SamplingFields, UNBUILT as SHARED_UNBUILT};
use crate::http::openai::validate::{self as shared, Asked};
use crate::http::prompt::Truncation;
use crate::http::rules::Rules;
use crate::http::structure;
use crate::http::unbuilt::refuse_unbuilt;

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
}

/// Parses and checks a body.
///
/// # Errors
/// With the first field at fault.
pub fn validate(body: &JsonBody, rules: Rules<'_>) -> Result<ChatRequest, ApiError> {
    let chat: ChatFields = body.parse()?;
    let answer: AnswerFields = body.parse()?;
    let prompt: PromptFields = body.parse()?;
    let sampling: SamplingFields = body.parse()?;
    let logprobs = Logprobs {
        prompt: prompt_fields::prompt_logprobs(&prompt, rules.limits)?,
        ..logprobs(&chat, rules.limits)?
    };
    let form = answer_form(&answer, logprobs, rules.name)?;
    refuse_unbuilt(body, UNBUILT)?;
    refuse_unbuilt(body, SHARED_UNBUILT)?;
    let asked = Asked {
        max_new_tokens: shared::max_tokens(chat.max_completion_tokens, chat.max_tokens, 1, rules.limits)?,
        default_max_new_tokens: rules.defaults.max_new_tokens.filter(|tokens| *tokens > 0),
        logprobs,
        cache_salt: shared::cache_salt(sampling.cache_salt.as_deref(), rules.ids)?,
        structure: structure::openai(body.parse()?)?,
        ..Asked::default()
    };
    let conversation = conversation::validate(body.parse()?)?;
    let echo = if chat.echo.unwrap_or(false) {
        conversation.last_of_assistant().unwrap_or_default().to_owned()
    } else {
        String::new()
    };
    if let (Some(asked), true) = (&asked.structure, conversation.may_call()) {
        let message = format!(
            "`{}` and `tools` exclude each other: a call is no such answer; leave one out, or set `tool_choice` to \
             \"none\"",
            asked.param
        );
        return Err(ApiError::invalid(asked.param, Rule::Conflict, message));
    }
    Ok(ChatRequest {
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
