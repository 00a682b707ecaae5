//! Log-probabilities in OpenAI's two shapes.

use serde::Serialize;
use serde_json::{Map, Number, Value};
use shardline_text::Tokenizer;

use crate::session::Settled;

/// What stands for a probability of zero, whose logarithm JSON cannot say.
const LEAST: f32 = -9999.0;

/// `choices[].logprobs` of a chat answer.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ChatLogprobs {
    /// One entry a token.
    pub content: Vec<ChatToken>,
    /// Always null: nothing is refused.
    pub refusal: Option<()>,
}

/// One token of a chat answer.
#[derive(Clone, Debug, Serialize)]
pub struct ChatToken {
    #[serde(flatten)]
    token: Candidate,
    top_logprobs: Vec<Candidate>,
}

#[derive(Clone, Debug, Serialize)]
struct Candidate {
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
}

impl ChatLogprobs {
    /// Appends tokens; `top`: how many alternatives each.
    pub fn extend(&mut self, tokenizer: &Tokenizer, settled: &[Settled], top: u32) {
        self.content.extend(settled.iter().map(|settled| {
            ChatToken {
                token: candidate(
                    tokenizer,
                    settled.token.id,
                    settled.token.logprob.unwrap_or(LEAST),
                ),
                top_logprobs: alternatives(settled, top)
                    .map(|(id, value)| candidate(tokenizer, id, value))
                    .collect(),
            }
        }));
    }
}

/// `choices[].logprobs` of a completion.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CompletionLogprobs {
    /// Where each token begins, in characters of the choice's text.
    text_offset: Vec<u32>,
    token_logprobs: Vec<f32>,
    tokens: Vec<String>,
    /// Text to log-probability, the sampled token always among them; null when none was asked for.
    top_logprobs: Option<Vec<Map<String, Value>>>,
}

impl CompletionLogprobs {
    /// Appends tokens; `top`: how many alternatives each.
    pub fn extend(&mut self, tokenizer: &Tokenizer, settled: &[Settled], top: u32) {
        for settled in settled {
            let text = tokenizer.token_text(settled.token.id);
            let logprob = finite(settled.token.logprob.unwrap_or(LEAST));
            if top > 0 {
                let mut map: Map<String, Value> = alternatives(settled, top)
                    .map(|(id, value)| (tokenizer.token_text(id), number(value)))
                    .collect();
                map.entry(text.clone()).or_insert_with(|| number(logprob));
                self.top_logprobs.get_or_insert_default().push(map);
            }
            self.text_offset.push(settled.span.start);
            self.token_logprobs.push(logprob);
            self.tokens.push(text);
        }
    }
}

fn alternatives(settled: &Settled, top: u32) -> impl Iterator<Item = (u32, f32)> {
    settled.token.top.iter().take(top as usize).copied()
}

fn candidate(tokenizer: &Tokenizer, id: u32, logprob: f32) -> Candidate {
    Candidate {
        token: tokenizer.token_text(id),
        logprob: finite(logprob),
        bytes: tokenizer.token_bytes(id),
    }
}

fn finite(logprob: f32) -> f32 {
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
