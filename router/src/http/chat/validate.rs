//! The rules of `POST /v1/chat/completions`.

use crate::http::body::JsonBody;
use crate::http::chat::types::{ChatFields, UNBUILT};
use crate::http::check;
use crate::http::conversation::{self, Conversation};
use crate::http::decoding::{Decoding, Limits};
use crate::http::error::{ApiError, Rule};
use crate::http::openai::types::{AnswerFields, SamplingFields, UNBUILT as SHARED_UNBUILT};
use crate::http::openai::validate::{self as shared, AnswerForm, Asked, Logprobs};
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
    let sampling: SamplingFields = body.parse()?;
    let form = shared::answer_form(&answer, rules.name)?;
    refuse_unbuilt(body, UNBUILT)?;
    refuse_unbuilt(body, SHARED_UNBUILT)?;
    let asked = Asked {
        max_new_tokens: shared::max_tokens(chat.max_completion_tokens, chat.max_tokens, rules.limits)?,
        default_max_new_tokens: rules.defaults.max_new_tokens.filter(|tokens| *tokens > 0),
        logprobs: logprobs(&chat, rules.limits)?,
        cache_salt: shared::cache_salt(sampling.cache_salt.as_deref(), rules.ids)?,
        structure: structure::openai(body.parse()?)?,
    };
    Ok(ChatRequest {
        form,
        conversation: conversation::validate(body.parse()?)?,
        decoding: shared::decoding(sampling, asked, rules.limits, rules.defaults)?,
    })
}

fn logprobs(chat: &ChatFields, limits: &Limits) -> Result<Logprobs, ApiError> {
    let wanted = chat.logprobs.unwrap_or(false);
    let top = match chat.top_logprobs {
        Some(given) if given.0 == -1 => limits.max_top_logprobs,
        given => check::integer("top_logprobs", given, 0, limits.max_top_logprobs)?.unwrap_or(0),
    };
    if top > 0 && !wanted {
        let message = "`top_logprobs` needs `logprobs`: true";
        return Err(ApiError::invalid("top_logprobs", Rule::Conflict, message));
    }
    Ok(Logprobs { wanted, top })
}
