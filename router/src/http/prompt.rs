//! Prompts as token ids that leave room for an answer.

use std::sync::Arc;

use shardline_text::{EncodeOptions, ModelText, TokenizeError};

use crate::http::decoding::Limits;
use crate::http::error::{ApiError, Rule};

/// A prompt and the room behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Not empty.
    pub ids: Arc<[u32]>,
    /// Tokens that may be generated, at least one.
    pub room: u32,
    /// Characters of the text; 0 for a prompt that came as token ids.
    pub characters: usize,
}

impl Encoded {
    /// Tokens of the prompt.
    #[must_use]
    pub fn tokens(&self) -> u32 {
        u32::try_from(self.ids.len()).unwrap_or(u32::MAX)
    }
}

/// How a prompt that is too long is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncation {
    /// Tokens that are kept, at least one.
    pub keep: u32,
    /// Which ones.
    pub end: End,
}

/// An end of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its beginning.
    First,
    /// Its end.
    Last,
}

impl Truncation {
    /// Cuts a prompt.
    #[must_use]
    pub fn cut(self, mut ids: Vec<u32>) -> Vec<u32> {
        let surplus = ids.len().saturating_sub(self.keep as usize);
        match self.end {
            End::First => ids.truncate(ids.len() - surplus),
            End::Last => drop(ids.drain(..surplus)),
        }
        ids
    }
}

/// Whose words a refusal uses, and which field it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `messages`
    Chat,
    /// `input`
    Responses,
    /// `prompt`
    Completion,
    /// `inputs`
    Native,
}

impl Origin {
    fn field(self) -> &'static str {
        match self {
            Self::Chat => "messages",
            Self::Responses => "input",
            Self::Completion => "prompt",
            Self::Native => "inputs",
        }
    }
}

/// Refuses a text that cannot fit however it is tokenised, before that work is done.
///
/// # Errors
/// `TooLong`.
pub fn check_bytes(model: &ModelText, text: &str, limits: &Limits, origin: Origin) -> Result<(), ApiError> {
    check_fewest(
        model.tokenizer.fewest_tokens(text.len()),
        text.len(),
        limits,
        origin,
    )
}

fn check_fewest(fewest: usize, bytes: usize, limits: &Limits, origin: Origin) -> Result<(), ApiError> {
    if fewest <= limits.max_input_tokens as usize {
        return Ok(());
    }
    let field = origin.field();
    let message = format!(
        "`{field}` must have less than {} tokens. Given: {bytes} bytes, which are at least {fewest} tokens; send \
         less text",
        limits.max_input_tokens,
    );
    Err(ApiError::TooLong {
        param: field,
        message,
    })
}

/// Tokenises a text in which control tokens may be spelled out.
///
/// # Errors
/// When it does not fit or cannot be tokenised.
pub fn encode_text(model: &ModelText, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, ApiError> {
    let options = EncodeOptions {
        add_special_tokens,
        control_tokens: true,
    };
    model
        .tokenizer
        .encode(text, options)
        .map_err(|error| not_encoded(&error))
}

/// What a tokenizer's refusal means.
#[must_use]
pub fn not_encoded(error: &TokenizeError) -> ApiError {
    match error {
        TokenizeError::NotPlain { .. } => ApiError::invalid("messages", Rule::Value, error.to_string()),
        _ => ApiError::Internal {
            cause: "the tokenizer failed on this text".to_owned(),
        },
    }
}

/// Checks a prompt against the limits. `asked`: how many tokens the client wants.
///
/// # Errors
/// As `room`.
pub fn fit(
    ids: Vec<u32>,
    characters: usize,
    asked: Option<u32>,
    limits: &Limits,
    origin: Origin,
) -> Result<Encoded, ApiError> {
    Ok(Encoded {
        room: room(ids.len(), asked, limits, origin)?,
        ids: ids.into(),
        characters,
    })
}

/// How many tokens may be generated behind a prompt of so many.
///
/// # Errors
/// When it is empty, too long, or leaves less room than was asked for.
pub fn room(tokens: usize, asked: Option<u32>, limits: &Limits, origin: Origin) -> Result<u32, ApiError> {
    let field = origin.field();
    let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
    if tokens == 0 {
        return Err(ApiError::invalid(
            field,
            Rule::Missing,
            format!("`{field}` cannot be empty"),
        ));
    }
    let room = limits.max_total_tokens.saturating_sub(tokens);
    if tokens > limits.max_input_tokens || room == 0 {
        let most = limits
            .max_input_tokens
            .min(limits.max_total_tokens.saturating_sub(1));
        let message = match origin {
            Origin::Native => format!("`inputs` must have less than {most} tokens. Given: {tokens}"),
            _ => format!(
                "This model takes at most {most} prompt tokens (--max-input-tokens), and `{field}` has {tokens}; \
                 shorten it by {}.",
                tokens - most
            ),
        };
        return Err(ApiError::TooLong {
            param: field,
            message,
        });
    }
    if let Some(asked) = asked.filter(|asked| *asked > room) {
        let message = match origin {
            Origin::Native => format!(
                "`inputs` tokens + `max_new_tokens` must be <= {}. Given: {tokens} `inputs` tokens and {asked} \
                 `max_new_tokens`",
                limits.max_total_tokens
            ),
            _ => format!(
                "This model's maximum context length is {} tokens (--max-total-tokens). However, you asked for {} \
                 tokens ({tokens} in `{field}`, {asked} in the answer). Shorten one of them.",
                limits.max_total_tokens,
                u64::from(tokens) + u64::from(asked)
            ),
        };
        return Err(ApiError::TooLong {
            param: field,
            message,
        });
    }
    Ok(room)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::decoding::tests::limits;

    #[test]
    fn what_fits_says_how_much_room_is_left() {
        let limits = limits();
        let encoded = fit(vec![1; 10], 7, Some(5), &limits, Origin::Chat).unwrap();
        assert_eq!(
            (encoded.tokens(), encoded.room, encoded.characters),
            (10, limits.max_total_tokens - 10, 7)
        );
        let most = limits.max_input_tokens as usize;
        assert_eq!(
            fit(vec![1; most], 0, Some(1), &limits, Origin::Chat)
                .unwrap()
                .room,
            1
        );
    }

    #[test]
    fn a_cut_prompt_keeps_the_end_that_was_asked_for() {
        let cut = |keep, end| Truncation { keep, end }.cut(vec![1, 2, 3]);
        assert_eq!(cut(2, End::Last), [2, 3]);
        assert_eq!(cut(2, End::First), [1, 2]);
        assert_eq!(cut(4, End::Last), [1, 2, 3]);
    }

    #[test]
    fn refusals_hold_both_counts_and_the_limit() {
        let limits = limits();
        let text = |result: Result<Encoded, ApiError>| result.unwrap_err().to_string();
        insta::assert_snapshot!(text(fit(vec![1; 64], 0, None, &limits, Origin::Chat)));
        insta::assert_snapshot!(text(fit(vec![1; 64], 0, None, &limits, Origin::Native)));
        insta::assert_snapshot!(text(fit(vec![1; 60], 0, Some(5), &limits, Origin::Completion)));
        insta::assert_snapshot!(text(fit(vec![1; 60], 0, Some(5), &limits, Origin::Native)));
        insta::assert_snapshot!(text(fit(Vec::new(), 0, None, &limits, Origin::Native)));
        let most = limits.max_input_tokens as usize;
        insta::assert_snapshot!(check_fewest(most + 1, 16_384, &limits, Origin::Native).unwrap_err());
        assert!(check_fewest(most, 16_384, &limits, Origin::Native).is_ok());
    }
}
