//! One request's generations as text: tokens in, pieces of text out, in the order in which they
//! come. Finding a stop string cancels the sequence, and so does dropping the session.

mod accounts;
mod choice;

use std::future::poll_fn;
use std::task::{Context, Poll};

pub use accounts::{Accounts, TOKEN_SECONDS};
pub use choice::{Choice, ChoiceEvent, ChoiceRules, End, Settled, TextToken};

/// The choices of a request: `n` a prompt, prompt after prompt.
#[derive(Debug)]
pub struct Session {
    /// `None`: it ended.
    choices: Vec<Option<Choice>>,
    /// Which one is asked first.
    next: usize,
    accounts: Accounts,
}

impl Session {
    /// Joins choices; their place in the list is their index.
    #[must_use]
    pub fn new(choices: Vec<Choice>, accounts: Accounts) -> Self {
        Self {
            choices: choices.into_iter().map(Some).collect(),
            next: 0,
            accounts,
        }
    }

    /// What happened so far.
    #[must_use]
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// How many choices there are.
    #[must_use]
    pub fn choices(&self) -> usize {
        self.choices.len()
    }

    /// The next event of any choice with that choice's index; `None` when all have ended. Each
    /// choice ends with exactly one `Finished`.
    pub fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<(usize, ChoiceEvent)>> {
        let count = self.choices.len();
        let mut waiting = false;
        for offset in 0..count {
            let index = (self.next + offset) % count;
            let Some(slot) = self.choices.get_mut(index) else {
                continue;
            };
            let Some(choice) = slot else { continue };
            match choice.poll_event(context) {
                Poll::Ready(event) => {
                    if matches!(event, ChoiceEvent::Finished { .. }) {
                        *slot = None;
                    }
                    // The same one first: what waits for it shares a write.
                    self.next = index;
                    self.accounts.note(index, &event);
                    return Poll::Ready(Some((index, event)));
                }
                Poll::Pending => waiting = true,
            }
        }
        if waiting { Poll::Pending } else { Poll::Ready(None) }
    }

    /// See `poll_event`.
    pub async fn next(&mut self) -> Option<(usize, ChoiceEvent)> {
        poll_fn(|context| self.poll_event(context)).await
    }
}
