//! A native answer in one piece.

use crate::http::error::ApiError;
use crate::http::generate::shapes::{
    Details, Generated, OtherSequence, PrefillToken, Sequence, Token, finish_reason,
};
use crate::http::generate::stream::Answer;
use crate::http::running::Running;
use crate::session::{ChoiceEvent, End, TextToken};

/// A sequence in the making.
#[derive(Debug)]
struct Growing {
    text: String,
    sequence: Sequence,
    logprob: f32,
}

impl Growing {
    fn new(answer: &Answer, index: usize) -> Self {
        Self {
            text: answer.before.clone(),
            sequence: Sequence {
                finish_reason: "",
                generated_tokens: 0,
                seed: answer.seeds.get(index).copied(),
                prefill: Vec::new(),
                tokens: Vec::new(),
                top_tokens: Vec::new(),
            },
            logprob: 0.0,
        }
    }

    fn token(&mut self, answer: &Answer, running: &Running, event: &TextToken) {
        self.text.push_str(&event.text);
        self.logprob += event.token.logprob.unwrap_or_default();
        self.sequence.generated_tokens += 1;
        if answer.details {
            let tokenizer = running.tokenizer();
            self.sequence.tokens.push(Token::new(tokenizer, event));
            if answer.top_n_tokens > 0 {
                let top = Token::top(tokenizer, event, answer.top_n_tokens);
                self.sequence.top_tokens.push(top);
            }
        }
    }

    /// Its log-probability a token, by which sequences are ranked: a sum would favour short ones.
    fn score(&self) -> f32 {
        self.logprob / self.sequence.generated_tokens.max(1) as f32
    }
}

/// Collects the whole answer; `list`: as a list of one.
///
/// # Errors
/// When the generation fails: a part of an answer is none.
pub async fn collect(running: &mut Running, answer: &Answer, list: bool) -> Result<Vec<u8>, ApiError> {
    let mut growing: Vec<Growing> = (0..running.choices())
        .map(|index| Growing::new(answer, index))
        .collect();
    while let Some((index, event)) = running.next().await {
        let Some(sequence) = growing.get_mut(index) else {
            continue;
        };
        match event {
            ChoiceEvent::Started { .. } => {}
            ChoiceEvent::Prompt(tokens) => {
                let tokens = tokens.iter();
                sequence.sequence.prefill = tokens
                    .map(|token| PrefillToken::new(running.tokenizer(), token))
                    .collect();
            }
            ChoiceEvent::Token(event) => sequence.token(answer, running, &event),
            ChoiceEvent::Finished {
                end: End::Failed(finish),
                ..
            } => return Err(running.fail(&finish)),
            ChoiceEvent::Finished { end, text, .. } => {
                sequence.text.push_str(&text);
                sequence.sequence.finish_reason = finish_reason(&end);
            }
        }
    }
    let generated = best(growing, answer.details).ok_or(ApiError::Internal {
        cause: "nothing was generated".to_owned(),
    })?;
    let body = if list {
        serde_json::to_vec(&[generated])
    } else {
        serde_json::to_vec(&generated)
    };
    body.map_err(|error| ApiError::Internal {
        cause: error.to_string(),
    })
}

/// The likeliest sequence, with the others beside it.
fn best(mut growing: Vec<Growing>, details: bool) -> Option<Generated> {
    // Stable: of equal ones the first.
    growing.sort_by(|one, other| other.score().total_cmp(&one.score()));
    let mut sequences = growing.into_iter();
    let best = sequences.next()?;
    let others = sequences.map(|other| OtherSequence {
        generated_text: other.text,
        sequence: other.sequence,
    });
    Some(Generated {
        generated_text: best.text,
        details: details.then(|| Details {
            sequence: best.sequence,
            best_of_sequences: others.collect(),
        }),
    })
}
