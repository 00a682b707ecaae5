//! Log-probabilities in OpenAI's two shapes.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Number, Value};

use crate::engine::api::{GeneratedToken, PromptToken};
use crate::http::openai::names::TokenNames;
use crate::session::Settled;

/// What stands for a probability of zero, whose logarithm JSON cannot say.
const LEAST: f32 = -9999.0;

/// `choices[].logprobs` of a chat answer.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct ChatLogprobs {
    /// One entry a token.
    pub content: Vec<ChatToken>,
    /// Always null: nothing is refused.
    pub refusal: Option<()>,
}

/// One token of a chat answer.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ChatToken {
    #[serde(flatten)]
    token: Candidate,
    top_logprobs: Vec<Candidate>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Candidate {
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
}

impl ChatLogprobs {
    /// Appends tokens; `top`: how many alternatives each.
    pub fn extend(&mut self, names: TokenNames<'_>, settled: &[Settled], top: u32) {
        self.content.extend(settled.iter().map(|settled| {
            let GeneratedToken {
                id,
                logprob,
                top: likely,
            } = &settled.token;
            ChatToken {
                token: candidate(names, *id, logprob.unwrap_or(LEAST)),
                top_logprobs: likely
                    .iter()
                    .take(top as usize)
                    .map(|(id, value)| candidate(names, *id, *value))
                    .collect(),
            }
        }));
    }
}

/// `choices[].logprobs` of a completion.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct CompletionLogprobs {
    /// Where each token begins, in characters of the choice's text.
    text_offset: Vec<u32>,
    /// Null for the first token of an echoed prompt, which nothing stands before.
    token_logprobs: Vec<Option<f32>>,
    tokens: Vec<String>,
    /// Text to log-probability, the token itself always among them; null when none was asked for.
    top_logprobs: Option<Vec<Option<Map<String, Value>>>>,
}

impl CompletionLogprobs {
    /// Appends tokens of the answer, whose text begins at `offset` characters; `top`: how many
    /// alternatives each.
    pub fn extend(&mut self, names: TokenNames<'_>, settled: &[Settled], offset: u32, top: u32) {
        for settled in settled {
            let token = &settled.token;
            let logprob = Some(token.logprob.unwrap_or(LEAST));
            let place = offset.saturating_add(settled.span.start);
            self.push(names, (token.id, logprob, &token.top), place, top);
        }
    }

    /// Appends the tokens of an echoed prompt.
    pub fn extend_prompt(&mut self, names: TokenNames<'_>, text: &str, prompt: &[PromptToken], top: u32) {
        let ids: Vec<u32> = prompt.iter().map(|token| token.id).collect();
        for (token, place) in prompt.iter().zip(names.tokenizer.align(text, &ids)) {
            self.push(names, (token.id, token.logprob, &token.top), place.start, top);
        }
    }

    fn push(&mut self, names: TokenNames<'_>, token: Scored<'_>, offset: u32, top: u32) {
        let (id, logprob, likely) = token;
        let name = names.of(id);
        let logprob = logprob.map(finite);
        if top > 0 {
            let map = logprob.map(|logprob| {
                let likely = likely.iter().take(top as usize);
                let mut map: Map<String, Value> = likely
                    .map(|(id, value)| (names.of(*id), number(*value)))
                    .collect();
                map.entry(name.clone()).or_insert_with(|| number(logprob));
                map
            });
            self.top_logprobs.get_or_insert_default().push(map);
        }
        self.text_offset.push(offset);
        self.token_logprobs.push(logprob);
        self.tokens.push(name);
    }
}

/// A token, its log-probability, and the most likely ones in its place.
type Scored<'a> = (u32, Option<f32>, &'a [(u32, f32)]);

fn candidate(names: TokenNames<'_>, id: u32, logprob: f32) -> Candidate {
    Candidate {
        token: names.of(id),
        logprob: finite(logprob),
        bytes: names.tokenizer.token_bytes(id),
    }
}

/// What JSON can say of a log-probability.
#[must_use]
pub fn finite(logprob: f32) -> f32 {
    if logprob.is_finite() {
        logprob.max(LEAST)
    } else {
        LEAST
    }
}

/// The shortest spelling of an `f32`, which widening to `f64` would lose.
fn number(value: f32) -> Value {
    let spelled = format!("{:?}", finite(value));
    spelled
        .parse::<f64>()
        .ok()
        .and_then(Number::from_f64)
        .map_or(Value::Null, Value::Number)
}
