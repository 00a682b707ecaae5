//! In which form an answer under `/v1` comes.

use crate::http::error::{ApiError, Rule};
use crate::http::model::ServedName;
use crate::http::openai::types::AnswerFields;

/// Which log-probabilities an answer carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Logprobs {
    /// Each token's own.
    pub wanted: bool,
    /// And those of this many most likely ones.
    pub top: u32,
    /// The prompt's own and those of this many most likely ones, in a field of their own.
    pub prompt: Option<u32>,
}

/// What an answer tells, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnswerForm {
    /// Server-sent events.
    pub stream: bool,
    /// With a last chunk of usage.
    pub include_usage: bool,
    /// With usage in every chunk.
    pub continuous_usage: bool,
    /// With the token ids of prompt and answer.
    pub token_ids: bool,
    /// With log-probabilities.
    pub logprobs: Logprobs,
    /// Tokens are named by their ids wherever they would be by their texts.
    pub tokens_as_ids: bool,
}

/// Checks model and form.
///
/// # Errors
/// When the model is unknown, or two of the fields exclude each other.
pub fn answer_form(
    fields: &AnswerFields,
    logprobs: Logprobs,
    name: &ServedName,
) -> Result<AnswerForm, ApiError> {
    name.check(fields.model.as_deref())?;
    let stream = fields.stream.unwrap_or(false);
    if fields.stream_options.is_some() && !stream {
        let message = "`stream_options` is only for `stream`: true; leave it out";
        return Err(ApiError::invalid("stream_options", Rule::Conflict, message));
    }
    if logprobs.prompt.is_some() && stream {
        let message = "`prompt_logprobs` is only for whole answers; leave out `stream`";
        return Err(ApiError::invalid("prompt_logprobs", Rule::Conflict, message));
    }
    let options = fields.stream_options.unwrap_or_default();
    Ok(AnswerForm {
        stream,
        include_usage: options.include_usage.unwrap_or(false),
        continuous_usage: options.continuous_usage_stats.unwrap_or(false),
        token_ids: fields.return_token_ids.unwrap_or(false),
        tokens_as_ids: fields.return_tokens_as_token_ids.unwrap_or(false),
        logprobs,
    })
}
