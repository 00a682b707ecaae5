//! Gathering a prompt's log-probabilities, which come in pieces as its chunks are computed.

use std::sync::Arc;

use crate::engine::api::PromptToken;
use crate::shard::PromptLogprobs;

/// Log-probabilities of one prompt.
#[derive(Debug)]
pub(super) struct PromptCollector {
    prompt: Arc<[u32]>,
    gathered: Vec<PromptToken>,
}

impl PromptCollector {
    pub(super) fn new(prompt: Arc<[u32]>) -> Self {
        Self {
            prompt,
            gathered: Vec::new(),
        }
    }

    /// Takes the next piece. A piece may repeat positions, when the sequence was preempted on the
    /// way; one that leaves a gap is not the next piece and is ignored.
    pub(super) fn add(&mut self, piece: PromptLogprobs) {
        let first = piece.first_position as usize;
        let Some(known) = self.gathered.len().checked_sub(first) else {
            return;
        };
        let ids = self.prompt.iter().skip(self.gathered.len());
        let entries = piece.logprobs.into_iter().zip(piece.top).skip(known);
        self.gathered
            .extend(ids.zip(entries).map(|(id, (logprob, top))| PromptToken {
                id: *id,
                logprob: (!logprob.is_nan()).then_some(logprob),
                top,
            }));
    }

    /// The whole prompt's, when it is complete.
    pub(super) fn finish(self) -> Option<Vec<PromptToken>> {
        (self.gathered.len() == self.prompt.len()).then_some(self.gathered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(first_position: u32, logprobs: &[f32]) -> PromptLogprobs {
        let top = logprobs.iter().map(|logprob| vec![(1, *logprob)]).collect();
        PromptLogprobs {
            sequence: 1,
            first_position,
            logprobs: logprobs.to_vec(),
            top,
        }
    }

    #[test]
    fn pieces_make_the_prompt_even_when_some_come_twice() {
        let mut collector = PromptCollector::new(Arc::from([7, 8, 9, 10]));
        collector.add(piece(0, &[f32::NAN, -1.0]));
        collector.add(piece(0, &[f32::NAN, -1.0, -2.0]));
        collector.add(piece(3, &[-3.0, -9.0]));
        let tokens = collector.finish().unwrap();
        let read: Vec<_> = tokens.iter().map(|token| (token.id, token.logprob)).collect();
        assert_eq!(
            read,
            [(7, None), (8, Some(-1.0)), (9, Some(-2.0)), (10, Some(-3.0))]
        );
        assert_eq!(tokens[3].top, [(1, -3.0)]);
    }

    #[test]
    fn a_gap_is_never_filled_with_the_wrong_tokens() {
        let mut collector = PromptCollector::new(Arc::from([7, 8, 9]));
        collector.add(piece(1, &[-1.0, -2.0]));
        assert_eq!(collector.finish(), None);
    }
}
