//! Which of an answer's tokens belong to its text, and not to tags, reasoning or calls.

use std::collections::VecDeque;

use crate::http::conversation::Said;
use crate::session::Settled;

/// Sorts tokens while the answer is read. What is given out may be held back by the reader until it is
/// known what it is, so a token waits until something is said: it belongs to a text that has any of
/// its characters.
#[derive(Debug, Default)]
pub struct Spoken {
    waiting: VecDeque<Settled>,
    /// What was given out since something was said last.
    heard: String,
    /// Characters given out before it.
    before: u32,
}

impl Spoken {
    /// Takes what the reader took: `text`, and the tokens whose text is now given out entirely; and
    /// what it `said` thereupon. `thought`: whether the model was reasoning until then. Gives the tokens
    /// that belong to the first text in `said`.
    pub fn take(&mut self, text: &str, settled: Vec<Settled>, thought: bool, said: &[Said]) -> Vec<Settled> {
        self.heard.push_str(text);
        self.waiting.extend(settled);
        let told = said.iter().find_map(|said| match said {
            Said::Text(text) => Some(text),
            _ => None,
        });
        match told {
            None if said.is_empty() && !thought => Vec::new(),
            None => {
                self.waiting.clear();
                self.forget();
                Vec::new()
            }
            Some(told) => self.belonging(told),
        }
    }

    fn belonging(&mut self, told: &str) -> Vec<Settled> {
        // White space and tags before the text are no part of it.
        let skipped = self.heard.find(told).map_or(0, |at| count(&self.heard[..at]));
        let start = self.before + skipped;
        self.forget();
        let mut tokens = std::mem::take(&mut self.waiting);
        while tokens
            .front()
            .is_some_and(|token| token.span.end <= start && token.span.start < start)
        {
            tokens.pop_front();
        }
        // Tokens without text belong to what follows, if anything does.
        let silent = |token: &&Settled| token.span.start == token.span.end;
        let told = tokens.len() - tokens.iter().rev().take_while(silent).count();
        self.waiting = tokens.split_off(told);
        tokens.into()
    }

    fn forget(&mut self) {
        self.before += count(&self.heard);
        self.heard.clear();
    }
}

/// An answer has less than 2^32 characters.
fn count(text: &str) -> u32 {
    u32::try_from(text.chars().count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::api::GeneratedToken;
    use shardline_text::TextSpan;

    /// Each step: what a token gives out, its characters, and what is said then.
    fn sorted(steps: &[(&str, (u32, u32), &[Said])], thought: bool) -> Vec<Vec<usize>> {
        let mut spoken = Spoken::default();
        let steps = steps.iter().enumerate();
        steps
            .map(|(index, (text, (start, end), said))| {
                let token = Settled {
                    token: GeneratedToken {
                        id: index as u32,
                        logprob: None,
                        top: Vec::new(),
                    },
                    span: TextSpan {
                        start: *start,
                        end: *end,
                    },
                };
                let tokens = spoken.take(text, vec![token], thought, said);
                tokens.iter().map(|token| token.token.id as usize).collect()
            })
            .collect()
    }

    fn text(text: &str) -> Said {
        Said::Text(text.to_owned())
    }

    #[test]
    fn what_is_said_at_once_belongs_to_it() {
        let steps: [(&str, (u32, u32), &[Said]); 2] =
            [("I", (0, 1), &[text("I")]), (" do", (1, 4), &[text(" do")])];
        assert_eq!(sorted(&steps, false), [vec![0], vec![1]]);
    }

    #[test]
    fn what_was_held_back_belongs_to_what_it_turns_out_to_be() {
        let call = Said::Call {
            index: 0,
            id: "1".to_owned(),
            name: "now".to_owned(),
        };
        let steps: [(&str, (u32, u32), &[Said]); 6] = [
            ("a\n", (0, 2), &[text("a")]),
            ("<to", (2, 5), &[]),
            ("e>", (5, 7), &[text("\n<toe>")]),
            ("<tool", (7, 12), &[]),
            ("_call>", (12, 18), &[]),
            ("{", (18, 19), &[call]),
        ];
        assert_eq!(
            sorted(&steps, false),
            [vec![0], vec![], vec![1, 2], vec![], vec![], vec![]]
        );
    }

    #[test]
    fn white_space_that_is_left_out_takes_its_tokens_along() {
        let steps: [(&str, (u32, u32), &[Said]); 3] = [
            ("\n", (0, 1), &[]),
            ("\n", (1, 2), &[]),
            (" Yes", (2, 6), &[text("Yes")]),
        ];
        assert_eq!(sorted(&steps, false), [vec![], vec![], vec![2]]);
    }

    #[test]
    fn tokens_without_text_belong_to_what_follows() {
        let steps: [(&str, (u32, u32), &[Said]); 4] = [
            ("", (0, 0), &[]),
            ("ä", (0, 1), &[text("ä")]),
            ("", (1, 1), &[]),
            ("", (1, 1), &[]),
        ];
        assert_eq!(sorted(&steps, false), [vec![], vec![0, 1], vec![], vec![]]);
    }

    #[test]
    fn thoughts_and_their_tags_belong_to_no_text() {
        let thought = Said::Reasoning("Hm".to_owned());
        let steps: [(&str, (u32, u32), &[Said]); 2] =
            [("Hm", (0, 2), &[thought]), ("</think>", (2, 10), &[])];
        assert_eq!(sorted(&steps, true), [vec![0; 0], vec![]]);
        let mut spoken = Spoken::default();
        assert!(spoken.take("</think>", Vec::new(), true, &[]).is_empty());
        assert!(spoken.waiting.is_empty());
    }
}
