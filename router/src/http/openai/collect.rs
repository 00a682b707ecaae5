//! An answer in one piece: what each choice came to, before a route spells it.

use crate::engine::api::PromptToken;
use crate::http::error::ApiError;
use crate::http::openai::answer::Answer;
use crate::http::openai::shapes::{StopReason, finish_reason};
use crate::http::running::Running;
use crate::session::{ChoiceEvent, End, Settled};

/// A choice from its first token to its end.
#[derive(Debug, Default)]
pub struct Collected {
    /// Which prompt it goes on from.
    pub prompt: usize,
    /// Log-probabilities of the prompt; empty unless they are to be told.
    pub prompt_tokens: Vec<PromptToken>,
    /// Its text.
    pub text: String,
    /// Its tokens with the text they stand for; empty unless they are to be told.
    pub settled: Vec<Settled>,
    /// Its token ids; `None` unless they are to be told.
    pub token_ids: Option<Vec<u32>>,
    /// As clients read it.
    pub finish_reason: &'static str,
    /// Why it ended.
    pub end: Option<End>,
    /// The stop string or token.
    pub stop_reason: Option<StopReason>,
    /// Sum of the log-probabilities of its tokens, as far as they are known.
    logprob: f32,
    tokens: u32,
}

impl Collected {
    /// Its log-probability a token, by which choices are ranked: a sum would favour short ones.
    fn score(&self) -> f32 {
        self.logprob / self.tokens.max(1) as f32
    }
}

/// A piece of a choice's text.
#[derive(Clone, Copy, Debug)]
pub enum Piece<'a> {
    /// Of a token.
    Token(&'a str),
    /// Held back until the end.
    End(&'a str),
}

/// Runs a request to its end; one entry a choice. `listen` is told the index of a choice and each
/// piece of its text, of a token or else of the end.
///
/// # Errors
/// When a choice fails: a part of an answer is none.
pub async fn collect(
    running: &mut Running,
    answer: &Answer,
    mut listen: impl FnMut(usize, Piece<'_>),
) -> Result<Vec<Collected>, ApiError> {
    let mut choices: Vec<Collected> = (0..running.choices())
        .map(|index| Collected {
            prompt: answer.prompt_of(index),
            token_ids: answer.form.token_ids.then(Vec::new),
            ..Collected::default()
        })
        .collect();
    while let Some((index, event)) = running.next().await {
        let Some(choice) = choices.get_mut(index) else {
            continue;
        };
        let (text, settled) = match event {
            ChoiceEvent::Started { .. } => continue,
            ChoiceEvent::Prompt(tokens) => {
                choice.prompt_tokens = tokens;
                continue;
            }
            ChoiceEvent::Token(token) => {
                choice.logprob += token.token.logprob.unwrap_or_default();
                choice.tokens += 1;
                choice
                    .token_ids
                    .iter_mut()
                    .for_each(|ids| ids.push(token.token.id));
                listen(index, Piece::Token(&token.text));
                (token.text, token.settled)
            }
            ChoiceEvent::Finished {
                end: End::Failed(finish),
                ..
            } => return Err(running.fail(&finish)),
            ChoiceEvent::Finished { end, text, settled } => {
                choice.finish_reason = finish_reason(&end);
                choice.stop_reason = answer.stop_reason(&end);
                choice.end = Some(end);
                listen(index, Piece::End(&text));
                (text, settled)
            }
        };
        choice.text.push_str(&text);
        choice.settled.extend(settled);
    }
    Ok(choices)
}

/// The `n` most likely choices of each prompt, prompt after prompt, the most likely ones first. For
/// more than `n` choices a prompt alone: otherwise their order is that in which they were asked for.
#[must_use]
pub fn best(mut choices: Vec<Collected>, n: usize) -> Vec<Collected> {
    choices.sort_by(|one, other| {
        let likelier = other.score().total_cmp(&one.score());
        one.prompt.cmp(&other.prompt).then(likelier)
    });
    let mut kept = 0;
    let mut prompt = 0;
    choices.retain(|choice| {
        kept = if choice.prompt == prompt { kept + 1 } else { 1 };
        prompt = choice.prompt;
        kept <= n
    });
    choices
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(prompt: usize, logprob: f32, tokens: u32) -> Collected {
        Collected {
            prompt,
            logprob,
            tokens,
            ..Collected::default()
        }
    }

    #[test]
    fn the_most_likely_choices_of_each_prompt_are_kept() {
        let choices = vec![
            choice(0, -9.0, 3),
            choice(0, -4.0, 4),
            choice(0, -1.0, 1),
            choice(1, f32::NEG_INFINITY, 2),
            choice(1, -20.0, 2),
        ];
        let kept: Vec<_> = best(choices, 1)
            .iter()
            .map(|choice| (choice.prompt, choice.score()))
            .collect();
        assert_eq!(kept, [(0, -1.0), (1, -10.0)]);
        let of_all = best(vec![choice(0, -3.0, 1), choice(0, -2.0, 1)], 5);
        assert_eq!(
            of_all.iter().map(Collected::score).collect::<Vec<_>>(),
            [-2.0, -3.0]
        );
    }
}
