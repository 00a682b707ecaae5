//! Words that must not be drawn.
//!
//! A word of one token is kept away by a bias against that token. For one of several tokens it matters
//! what was drawn before the last of them, which a grammar knows (`automaton`).

mod automaton;

use shardline_text::{EncodeOptions, ModelText};

use crate::http::check;
use crate::http::decoding::Decoding;
use crate::http::error::{ApiError, Rule};
use crate::http::prompt::not_encoded;
use crate::http::structure::{Structure, Structured};

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

/// Tokens of all words of several tokens together.
const MAX_TOKENS: usize = 128;

/// What keeps words away, with and without a space before them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Banned {
    /// Tokens that are words by themselves, sorted.
    tokens: Vec<u32>,
    /// Words of several tokens.
    sequences: Vec<Vec<u32>>,
}

/// Looks the words' tokens up.
///
/// # Errors
/// When there are too many.
pub fn find(model: &ModelText, words: &[String]) -> Result<Banned, ApiError> {
    let options = EncodeOptions {
        add_special_tokens: false,
        control_tokens: true,
    };
    let mut banned = Banned::default();
    for word in words {
        for spelling in [word.clone(), format!(" {}", word.trim_start())] {
            let ids = model
                .tokenizer
                .encode(&spelling, options)
                .map_err(|error| not_encoded(&error))?;
            match ids[..] {
                [] => {}
                [id] => banned.tokens.push(id),
                _ => banned.sequences.push(ids),
            }
        }
    }
    banned.tokens.sort_unstable();
    banned.tokens.dedup();
    let given = banned.sequences.iter().map(Vec::len).sum::<usize>();
    if given > MAX_TOKENS {
        let message = format!(
            "`bad_words` may have at most {MAX_TOKENS} tokens in words of several tokens, counted with and without \
             a space before them. Given: {given}"
        );
        return Err(ApiError::invalid("bad_words", Rule::Count, message));
    }
    Ok(banned)
}

impl Banned {
    /// Puts biases in the place of what the client asked for the same tokens, and the grammar of words
    /// of several tokens where an answer is free.
    ///
    /// # Errors
    /// When there are such words, and the answer has a grammar of its own.
    pub fn keep_away(&self, decoding: &mut Decoding) -> Result<(), ApiError> {
        let biases = &mut decoding.sampling.logit_bias;
        biases.retain(|(id, _)| self.tokens.binary_search(id).is_err());
        biases.extend(self.tokens.iter().map(|id| (*id, NEVER)));
        if self.sequences.is_empty() {
            return Ok(());
        }
        if let Some(other) = &decoding.structure {
            let message = format!(
                "`bad_words` of several tokens and `{}` exclude each other: an answer follows one grammar; leave one \
                 out",
                other.param
            );
            return Err(ApiError::invalid("bad_words", Rule::Conflict, message));
        }
        let grammar = Structure::Lark(automaton::without(&self.sequences));
        decoding.structure = Some(Structured::new("bad_words", grammar));
        Ok(())
    }
}
