//! Log-probabilities of a prompt's tokens, in the field `prompt_logprobs`.

use serde::Serialize;
use serde_json::{Map, Value};
use shardline_text::Tokenizer;

use crate::engine::api::PromptToken;
use crate::http::openai::logprobs::finite;

/// One entry a token: null for the first, else from token id to [`Candidate`], the token's own
/// entry before the others.
pub type PromptLogprobs = Vec<Option<Map<String, Value>>>;

/// What is told of a token that stands, or could have stood, at a place of the prompt.
#[derive(Clone, Debug, Serialize)]
pub struct Candidate {
    /// Natural logarithm of its probability, given the tokens before it.
    logprob: f32,
    /// 1 is the most likely token; null for a token that is not among those asked for.
    rank: Option<usize>,
    /// Its text.
    decoded_token: String,
}

/// The field's value; `top`: how many alternatives each.
#[must_use]
pub fn prompt_logprobs(tokenizer: &Tokenizer, prompt: &[PromptToken], top: u32) -> PromptLogprobs {
    prompt.iter().map(|token| entry(tokenizer, token, top)).collect()
}

fn entry(tokenizer: &Tokenizer, token: &PromptToken, top: u32) -> Option<Map<String, Value>> {
    let logprob = token.logprob?;
    let rank_of = |id: u32| token.top.iter().position(|(other, _)| *other == id);
    let own = (token.id, logprob, rank_of(token.id));
    let others = token
        .top
        .iter()
        .take(top as usize)
        .enumerate()
        .map(|(rank, (id, logprob))| (*id, *logprob, Some(rank)))
        .filter(|(id, ..)| *id != token.id);
    let candidates = std::iter::once(own).chain(others).map(|(id, logprob, rank)| {
        let candidate = Candidate {
            logprob: finite(logprob),
            rank: rank.map(|rank| rank + 1),
            decoded_token: tokenizer.token_text(id),
        };
        (
            id.to_string(),
            serde_json::to_value(candidate).unwrap_or_default(),
        )
    });
    Some(candidates.collect())
}
