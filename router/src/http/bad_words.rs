//! Words that must not be drawn.
//!
//! A word of one token is kept away by a bias against that token. One of several tokens would need
//! to know what was drawn before it, which a bias does not: it is refused by name.

use shardline_text::{EncodeOptions, ModelText};

use crate::http::check;
use crate::http::error::{ApiError, Rule};
use crate::http::prompt::not_encoded;

const MAX_WORDS: usize = 256;
const MAX_WORD_BYTES: usize = 256;

/// No logit comes back from here.
const NEVER: f32 = -1e9;

/// Checks what can be checked without the tokenizer.
///
/// # Errors
/// When there are too many, or one is empty or too long.
pub fn check(words: Option<Vec<String>>) -> Result<Vec<String>, ApiError> {
    let words = words.unwrap_or_default();
    check::count("bad_words", words.len(), MAX_WORDS)?;
    for (index, word) in words.iter().enumerate() {
        if word.trim().is_empty() || word.len() > MAX_WORD_BYTES {
            let param = format!("bad_words[{index}]");
            let message = format!(
                "`{param}` must have 1 to {MAX_WORD_BYTES} bytes. Given: {}",
                word.len()
            );
            return Err(ApiError::invalid(param, Rule::Value, message));
        }
    }
    Ok(words)
}

/// The biases that keep words away, with and without a space before them.
///
/// # Errors
/// When a word has several tokens.
pub fn biases(model: &ModelText, words: &[String]) -> Result<Vec<(u32, f32)>, ApiError> {
    let mut biases = Vec::new();
    for (index, word) in words.iter().enumerate() {
        for spelling in [word.clone(), format!(" {}", word.trim_start())] {
            let options = EncodeOptions {
                add_special_tokens: false,
                control_tokens: true,
            };
            let ids = model
                .tokenizer
                .encode(&spelling, options)
                .map_err(|error| not_encoded(&error))?;
            let [id] = ids[..] else {
                return Err(several(index, &spelling, ids.len()));
            };
            biases.push((id, NEVER));
        }
    }
    biases.sort_by_key(|(id, _)| *id);
    biases.dedup_by_key(|(id, _)| *id);
    Ok(biases)
}

/// Puts biases in the place of what a client asked for the same tokens.
pub fn add(to: &mut Vec<(u32, f32)>, biases: &[(u32, f32)]) {
    to.retain(|(id, _)| biases.binary_search_by_key(id, |(banned, _)| *banned).is_err());
    to.extend_from_slice(biases);
}

fn several(index: usize, spelling: &str, tokens: usize) -> ApiError {
    let param = format!("bad_words[{index}]");
    let message = format!(
        "`{param}` must be one token with and without a space before it, and {spelling:?} has {tokens}; \
         use `logit_bias` for the tokens it begins with"
    );
    ApiError::invalid(param, Rule::Value, message)
}
