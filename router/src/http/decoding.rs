//! How a request wants its tokens drawn and its text ended, checked, whichever route it came by.

use std::sync::Arc;

use crate::engine::api::{EngineInfo, Generate, Sampling};
use crate::http::model::GenerationDefaults;
use crate::http::settings::HttpSettings;
use crate::http::structure::Structured;

/// Most answers a request may ask for.
const MAX_CHOICES: u32 = 128;

/// What a request's numbers are measured against.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Token ids are below it.
    pub vocab_size: u32,
    /// Prompt and generated tokens.
    pub max_total_tokens: u32,
    /// Prompt tokens.
    pub max_input_tokens: u32,
    /// Alternatives returned a token.
    pub max_top_logprobs: u32,
    /// The same on the native routes.
    pub max_top_n_tokens: u32,
    /// Stop strings.
    pub max_stop_sequences: u32,
    /// Answers a prompt.
    pub max_choices: u32,
    /// Sequences of which a native request gets the likeliest.
    pub max_best_of: u32,
    /// Prompts a request.
    pub max_client_batch_size: u32,
    /// Sequences a request: more than this never run at once.
    pub max_sequences: u32,
}

impl Limits {
    /// Limits of flags and model together.
    #[must_use]
    pub fn new(settings: &HttpSettings, info: &EngineInfo) -> Self {
        Self {
            vocab_size: info.vocab_size,
            max_total_tokens: info.max_total_tokens,
            max_input_tokens: info.max_input_tokens,
            max_top_logprobs: info.max_top_logprobs,
            max_top_n_tokens: settings.max_top_n_tokens.min(info.max_top_logprobs),
            max_stop_sequences: settings.max_stop_sequences,
            max_best_of: settings.max_best_of.min(settings.max_concurrent_requests),
            max_choices: settings.max_concurrent_requests.min(MAX_CHOICES),
            max_client_batch_size: settings.max_client_batch_size,
            max_sequences: settings.max_concurrent_requests,
        }
    }
}

/// Where a text ends by what it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopStrings {
    /// None of them empty.
    pub strings: Vec<String>,
    /// Whether the one that was found stays in the text.
    pub keep: bool,
}

/// The checked parameters of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoding {
    /// How tokens are drawn.
    pub(in crate::http) sampling: Sampling,
    /// As asked for; `None`: as many as fit.
    pub(in crate::http) max_new_tokens: Option<u32>,
    /// Whether a client asked for that many, and is to be told when they do not fit.
    pub(in crate::http) insists: bool,
    /// Tokens before which nothing ends the text.
    pub(in crate::http) min_new_tokens: u32,
    /// The request's own, beside EOS.
    pub(in crate::http) stop_token_ids: Vec<u32>,
    /// Whether EOS ends nothing.
    pub(in crate::http) ignore_eos: bool,
    /// As asked for.
    pub(in crate::http) seed: Option<u64>,
    /// Cached blocks are shared between equal ones.
    pub(in crate::http) cache_salt: u64,
    /// Strings that end the text.
    pub(in crate::http) stop: StopStrings,
    /// What the answer must look like.
    pub(in crate::http) structure: Option<Structured>,
    /// Answers a prompt.
    pub(in crate::http) choices: u32,
    /// A seed for each choice, with which it could be had alone; empty: all share one.
    pub(in crate::http) choice_seeds: Vec<u64>,
    /// Words that must not be drawn.
    pub(in crate::http) bad_words: Vec<String>,
    /// Higher runs earlier.
    pub(in crate::http) priority: i32,
    /// Whether special tokens are left out of the text.
    pub(in crate::http) skip_special_tokens: bool,
    /// Whether only the prompt is of interest, and nothing is generated.
    pub(in crate::http) prompt_only: bool,
}

impl Decoding {
    /// The submissions of one prompt, one a choice. `room`: tokens that may be generated at most.
    pub(in crate::http) fn generates<'a>(
        &'a self,
        prompt: &'a Arc<[u32]>,
        defaults: &GenerationDefaults,
        room: u32,
        seed: u64,
    ) -> impl Iterator<Item = Generate> + 'a {
        let max_new_tokens = self.max_new_tokens.map_or(room, |asked| asked.min(room)).max(1);
        let min_new_tokens = self.least_new_tokens(max_new_tokens);
        let stop_token_ids = self.stop_tokens(defaults);
        let shared = self.seed.unwrap_or(seed);
        (0..self.choices).map(move |choice| {
            let own = self.choice_seeds.get(choice as usize).map(|seed| (*seed, 0));
            let (seed, choice) = own.unwrap_or((shared, choice));
            Generate {
                prompt: prompt.clone(),
                sampling: self.sampling.clone(),
                // Nothing is generated that could follow it.
                grammar: self
                    .structure
                    .as_ref()
                    .filter(|_| !self.prompt_only)
                    .map(|asked| asked.structure.grammar()),
                max_new_tokens,
                min_new_tokens,
                stop_token_ids: stop_token_ids.clone(),
                seed,
                choice,
                cache_salt: self.cache_salt,
                tenant: 0,
                priority: self.priority,
            }
        })
    }

    /// Tokens before which no stop token is drawn. A structure whose EOS is ignored goes on for as long
    /// as it can.
    fn least_new_tokens(&self, max_new_tokens: u32) -> u32 {
        if self.ignore_eos && self.structure.is_some() {
            return max_new_tokens;
        }
        self.min_new_tokens.min(max_new_tokens)
    }

    /// Tokens that must fit behind the prompt.
    pub(in crate::http) fn must_fit(&self) -> Option<u32> {
        self.max_new_tokens.filter(|_| self.insists)
    }

    /// EOS and the request's own stop tokens, sorted, each once. A structure that is complete ends with
    /// EOS, whether it is ignored or not: nothing else may come.
    pub(in crate::http) fn stop_tokens(&self, defaults: &GenerationDefaults) -> Arc<[u32]> {
        let mut ids = self.stop_token_ids.clone();
        if !self.ignore_eos || self.structure.is_some() {
            ids.extend_from_slice(&defaults.eos_token_ids);
        }
        ids.sort_unstable();
        ids.dedup();
        ids.into()
    }
}

#[cfg(test)]
pub(in crate::http) mod tests {
    use super::*;

    /// Limits of a small model.
    pub fn limits() -> Limits {
        Limits {
            vocab_size: 100,
            max_total_tokens: 64,
            max_input_tokens: 63,
            max_top_logprobs: 20,
            max_top_n_tokens: 5,
            max_stop_sequences: 4,
            max_choices: 8,
            max_best_of: 2,
            max_client_batch_size: 4,
            max_sequences: 16,
        }
    }
}
