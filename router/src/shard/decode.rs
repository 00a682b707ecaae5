//! Reading a step's outcome.

use std::ops::Range;

use shardline_proto::arrays::{ArrayError, View, total};
use shardline_proto::v1::{self, Outcomes, StepResponse};

/// What came back for one step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepOutcome {
    /// The step.
    pub step: u64,
    /// One entry a row that sampled or failed, in the order of the step's rows.
    pub rows: Vec<OutcomeRow>,
    /// Accepted tokens of all rows.
    pub tokens: Vec<u32>,
    /// Their log-probabilities; empty when no row asked.
    pub logprobs: Vec<f32>,
    /// Of each token: where in `top` its most likely ones are; empty when no row asked.
    pub top_ranges: Vec<Range<usize>>,
    /// Most likely tokens and their log-probabilities.
    pub top: Vec<(u32, f32)>,
    /// Log-probabilities of prompt positions computed in this step.
    pub prompt_logprobs: Vec<PromptLogprobs>,
}

/// One row's outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutcomeRow {
    /// Which sequence.
    pub sequence: u64,
    /// Whether it could be sampled.
    pub status: RowStatus,
    /// Where in `StepOutcome::tokens` its tokens are.
    pub tokens: Range<usize>,
}

/// Whether a row could be sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowStatus {
    /// Yes.
    Ok,
    /// NaN, or no finite logit.
    InvalidLogits,
    /// The grammar could not be compiled or had no continuation.
    Grammar,
}

/// Log-probabilities of consecutive prompt positions of a sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptLogprobs {
    /// Which sequence.
    pub sequence: u64,
    /// Position of the first entry.
    pub first_position: u32,
    /// Of the token at each position; NaN at position 0.
    pub logprobs: Vec<f32>,
    /// Most likely tokens at each position.
    pub top: Vec<Vec<(u32, f32)>>,
}

impl StepOutcome {
    /// Reads rank 0's response. Token ids are in `[0, vocab_size)`.
    ///
    /// # Errors
    /// When an array does not hold what its companions or the vocabulary promise.
    pub fn read(response: &StepResponse, vocab_size: u32) -> Result<Self, ArrayError> {
        let mut outcome = Self {
            step: response.step_id,
            ..Self::default()
        };
        if let Some(outcomes) = &response.outcomes {
            outcome.read_rows(outcomes, vocab_size)?;
        }
        for prompt in &response.prompt_logprobs {
            outcome.prompt_logprobs.push(read_prompt(prompt, vocab_size)?);
        }
        Ok(outcome)
    }

    /// What travels beside the token at `position` of a row: its log-probability and its most
    /// likely tokens, where the step has any.
    #[must_use]
    pub fn beside(&self, row: usize, position: usize) -> (Option<f32>, &[(u32, f32)]) {
        let Some(index) = self.rows.get(row).map(|row| row.tokens.start + position) else {
            return (None, &[]);
        };
        let logprob = self
            .logprobs
            .get(index)
            .copied()
            .filter(|logprob| !logprob.is_nan());
        let top = self
            .top_ranges
            .get(index)
            .and_then(|range| self.top.get(range.clone()));
        (logprob, top.unwrap_or_default())
    }

    fn read_rows(&mut self, outcomes: &Outcomes, vocab_size: u32) -> Result<(), ArrayError> {
        let sequences = View::<u64>::new("outcomes.sequence_ids", &outcomes.sequence_ids)?;
        let rows = sequences.len();
        let status = View::<u8>::with_entries("outcomes.status", &outcomes.status, rows)?;
        let counts =
            View::<i32>::with_entries("outcomes.token_counts", &outcomes.token_counts, rows)?.counts()?;
        let num_tokens = total(&counts);
        self.tokens = View::<i32>::with_entries("outcomes.token_ids", &outcomes.token_ids, num_tokens)?
            .ids_below(vocab_size)?;
        self.rows.reserve(rows);
        let mut start = 0;
        for (index, ((sequence, status), count)) in
            sequences.iter().zip(status.iter()).zip(counts).enumerate()
        {
            let end = start + count as usize;
            self.rows.push(OutcomeRow {
                sequence,
                status: row_status(index, status)?,
                tokens: start..end,
            });
            start = end;
        }
        if !outcomes.logprobs.is_empty() {
            let field = "outcomes.logprobs";
            self.logprobs = View::<f32>::with_entries(field, &outcomes.logprobs, num_tokens)?
                .iter()
                .collect();
        }
        if !outcomes.top_counts.is_empty() {
            let field = "outcomes.top_counts";
            let counts = View::<i32>::with_entries(field, &outcomes.top_counts, num_tokens)?.counts()?;
            let fields = ["outcomes.top_token_ids", "outcomes.top_logprobs"];
            let bytes = [&outcomes.top_token_ids[..], &outcomes.top_logprobs[..]];
            self.top = read_top(fields, bytes, total(&counts), vocab_size)?;
            self.top_ranges = ranges(&counts).collect();
        }
        Ok(())
    }
}

fn row_status(index: usize, status: u8) -> Result<RowStatus, ArrayError> {
    match v1::RowStatus::try_from(i32::from(status)) {
        Ok(v1::RowStatus::Ok) => Ok(RowStatus::Ok),
        Ok(v1::RowStatus::InvalidLogits) => Ok(RowStatus::InvalidLogits),
        Ok(v1::RowStatus::GrammarError) => Ok(RowStatus::Grammar),
        Err(_) => {
            let value = u32::from(status);
            Err(ArrayError::OutOfRange {
                field: "outcomes.status",
                index,
                value,
                limit: 3,
            })
        }
    }
}

fn ranges(counts: &[u32]) -> impl Iterator<Item = Range<usize>> + use<'_> {
    counts.iter().scan(0, |start, count| {
        let range = *start..*start + *count as usize;
        *start = range.end;
        Some(range)
    })
}

fn read_top(
    fields: [&'static str; 2],
    bytes: [&[u8]; 2],
    entries: usize,
    vocab_size: u32,
) -> Result<Vec<(u32, f32)>, ArrayError> {
    let ids = View::<i32>::with_entries(fields[0], bytes[0], entries)?.ids_below(vocab_size)?;
    let logprobs = View::<f32>::with_entries(fields[1], bytes[1], entries)?;
    Ok(ids.into_iter().zip(logprobs.iter()).collect())
}

fn read_prompt(prompt: &v1::PromptLogprobs, vocab_size: u32) -> Result<PromptLogprobs, ArrayError> {
    let logprobs: Vec<f32> = View::new("prompt_logprobs.logprobs", &prompt.logprobs)?
        .iter()
        .collect();
    let field = "prompt_logprobs.top_counts";
    let counts = View::<i32>::with_entries(field, &prompt.top_counts, logprobs.len())?.counts()?;
    let fields = ["prompt_logprobs.top_token_ids", "prompt_logprobs.top_logprobs"];
    let bytes = [&prompt.top_token_ids[..], &prompt.top_logprobs[..]];
    let top = read_top(fields, bytes, total(&counts), vocab_size)?;
    Ok(PromptLogprobs {
        sequence: prompt.sequence_id,
        first_position: prompt.first_position,
        logprobs,
        top: ranges(&counts).map(|range| top[range].to_vec()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use shardline_proto::arrays::{pack, pack_u32};

    fn response() -> StepResponse {
        let outcomes = Outcomes {
            sequence_ids: pack([1_u64, 2, 3].into_iter()),
            status: Bytes::from_static(&[0, 1, 0]),
            token_counts: pack_u32([1, 0, 2].into_iter()),
            token_ids: pack_u32([10, 20, 21].into_iter()),
            logprobs: pack([-0.5_f32, f32::NAN, -1.0].into_iter()),
            top_counts: pack_u32([2, 0, 1].into_iter()),
            top_token_ids: pack_u32([10, 11, 21].into_iter()),
            top_logprobs: pack([-0.5_f32, -0.75, -1.0].into_iter()),
        };
        StepResponse {
            step_id: 6,
            outcomes: Some(outcomes),
            ..StepResponse::default()
        }
    }

    #[test]
    fn rows_find_their_tokens() {
        let outcome = StepOutcome::read(&response(), 100).unwrap();
        assert_eq!(outcome.step, 6);
        assert_eq!(outcome.rows[1].status, RowStatus::InvalidLogits);
        assert_eq!(&outcome.tokens[outcome.rows[2].tokens.clone()], [20, 21]);
        assert_eq!(&outcome.top[outcome.top_ranges[2].clone()], [(21, -1.0)]);
    }

    #[test]
    fn a_token_outside_the_vocabulary_is_refused() {
        let error = StepOutcome::read(&response(), 21).unwrap_err();
        let expected = ArrayError::OutOfRange {
            field: "outcomes.token_ids",
            index: 2,
            value: 21,
            limit: 21,
        };
        assert_eq!(error, expected);
    }

    #[test]
    fn arrays_of_different_lengths_are_refused() {
        let mut cut = response();
        if let Some(outcomes) = &mut cut.outcomes {
            outcomes.status = Bytes::from_static(&[0, 1]);
        }
        assert_eq!(
            StepOutcome::read(&cut, 100).unwrap_err().to_string(),
            "outcomes.status: 2 entries where 3 are due"
        );
    }

    #[test]
    fn an_unknown_status_is_refused() {
        let mut odd = response();
        if let Some(outcomes) = &mut odd.outcomes {
            outcomes.status = Bytes::from_static(&[0, 9, 0]);
        }
        assert!(matches!(
            StepOutcome::read(&odd, 100),
            Err(ArrayError::OutOfRange { value: 9, .. })
        ));
    }

    #[test]
    fn an_acknowledgement_has_no_rows() {
        let outcome = StepOutcome::read(
            &StepResponse {
                step_id: 3,
                ..StepResponse::default()
            },
            1,
        )
        .unwrap();
        assert_eq!((outcome.step, outcome.rows.len()), (3, 0));
    }
}
