//! An answer in one piece: what each choice came to, before a route spells it.

use crate::http::error::ApiError;
use crate::http::openai::answer::Answer;
use crate::http::openai::shapes::{StopReason, finish_reason};
use crate::http::running::Running;
use crate::session::{ChoiceEvent, End, Settled};

/// A choice from its first token to its end.
#[derive(Debug, Default)]
pub struct Collected {
    /// Its text.
    pub text: String,
    /// Its tokens with the text they stand for; empty unless they are to be told.
    pub settled: Vec<Settled>,
    /// Its token ids; `None` unless they are to be told.
    pub token_ids: Option<Vec<u32>>,
    /// As clients read it.
    pub finish_reason: &'static str,
    /// The stop string or token.
    pub stop_reason: Option<StopReason>,
}

/// Runs a request to its end; one entry a choice.
///
/// # Errors
/// When a choice fails: a part of an answer is none.
pub async fn collect(running: &mut Running, answer: &Answer) -> Result<Vec<Collected>, ApiError> {
    let mut choices: Vec<Collected> = (0..running.choices())
        .map(|_| Collected {
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
            ChoiceEvent::Token(token) => {
                choice
                    .token_ids
                    .iter_mut()
                    .for_each(|ids| ids.push(token.token.id));
                (token.text, token.settled)
            }
            ChoiceEvent::Finished {
                end: End::Failed(finish),
                ..
            } => return Err(running.fail(&finish)),
            ChoiceEvent::Finished { end, text, settled } => {
                choice.finish_reason = finish_reason(&end);
                choice.stop_reason = answer.stop_reason(&end);
                (text, settled)
            }
        };
        choice.text.push_str(&text);
        choice.settled.extend(settled);
    }
    Ok(choices)
}
