//! The rules of the fields that say what is done with the prompt.

use crate::http::check;
use crate::http::decoding::Limits;
use crate::http::error::{ApiError, Rule};
use crate::http::numbers::Integer;
use crate::http::openai::types::PromptFields;
use crate::http::prompt::{End, Truncation};

/// How many alternatives are told with each of the prompt's tokens; -1 is as many as there are.
///
/// # Errors
/// When it is out of range.
pub fn prompt_logprobs(fields: &PromptFields, limits: &Limits) -> Result<Option<u32>, ApiError> {
    top("prompt_logprobs", fields.prompt_logprobs, limits)
}

/// A number of alternatives; -1 is as many as there are.
///
/// # Errors
/// When it is out of range.
pub fn top(param: &str, given: Option<Integer>, limits: &Limits) -> Result<Option<u32>, ApiError> {
    if given == Some(Integer(-1)) {
        return Ok(Some(limits.max_top_logprobs));
    }
    check::integer(param, given, 0, limits.max_top_logprobs)
}

/// How a prompt that is too long is cut. `answer`: tokens that must fit behind it.
///
/// # Errors
/// When the number is out of range, or the side is none.
pub fn truncation(
    fields: &PromptFields,
    answer: Option<u32>,
    limits: &Limits,
) -> Result<Option<Truncation>, ApiError> {
    let keep = match fields.truncate_prompt_tokens {
        Some(Integer(-1)) => {
            let room = limits.max_total_tokens.saturating_sub(answer.unwrap_or(1).max(1));
            Some(room.clamp(1, limits.max_input_tokens))
        }
        given => check::integer("truncate_prompt_tokens", given, 1, limits.max_input_tokens)?,
    };
    let end = match fields.truncation_side.as_deref() {
        None | Some("left") => End::Last,
        Some("right") => End::First,
        Some(other) => {
            let given: String = other.chars().take(20).collect();
            let message = format!("`truncation_side` must be `left` or `right`. Given: `{given}`");
            return Err(ApiError::invalid("truncation_side", Rule::Value, message));
        }
    };
    Ok(keep.map(|keep| Truncation { keep, end }))
}
