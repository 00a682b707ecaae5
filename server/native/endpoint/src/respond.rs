//! From the runner's outcome of a step to a `StepResponse`.

use bytes::Bytes;
use shardline_proto::v1;

/// What a step brought, as packed little-endian arrays; see `Outcomes` in the proto.
/// Ranks other than 0 send it empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// u64[s], in the order of the step's rows
    pub sequence_ids: Bytes,
    /// u8[s]: `RowStatus`
    pub status: Bytes,
    /// i32[s]: accepted tokens, 0 for a failed row
    pub token_counts: Bytes,
    /// i32[t], t = sum of `token_counts`
    pub token_ids: Bytes,
    /// f32[t], or empty
    pub logprobs: Bytes,
    /// i32[t], or empty
    pub top_counts: Bytes,
    /// i32[sum of `top_counts`]
    pub top_token_ids: Bytes,
    /// f32[sum of `top_counts`]
    pub top_logprobs: Bytes,
    /// Of sequences that asked for them.
    pub prompt_logprobs: Vec<PromptLogprobs>,
    /// One a command of the step.
    pub command_results: Vec<CommandResult>,
    /// Microseconds.
    pub timings: Timings,
}

/// Microseconds of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// The runner waited for the request.
    pub wait_us: u32,
    /// Batch preparation.
    pub prepare_us: u32,
    /// The model.
    pub forward_us: u32,
    /// Sampling.
    pub sample_us: u32,
}

/// Log-probabilities of the prompt positions of one sequence that this step computed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PromptLogprobs {
    /// Whose.
    pub sequence_id: u64,
    /// Position of the arrays' first entry.
    pub first_position: u32,
    /// f32[n]
    pub logprobs: Bytes,
    /// i32[n], or empty
    pub top_counts: Bytes,
    /// i32[sum of `top_counts`]
    pub top_token_ids: Bytes,
    /// f32[sum of `top_counts`]
    pub top_logprobs: Bytes,
}

/// How a command went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandResult {
    /// Of the command.
    pub command_id: u64,
    /// Empty: done.
    pub error: String,
}

/// The runner's arrays do not fit together: a defect of the runner, not of the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} has {given} bytes where {expected} are needed: {element_bytes} for each {per}")]
pub struct InvalidOutcome {
    field: &'static str,
    given: usize,
    expected: usize,
    element_bytes: usize,
    per: &'static str,
}

impl Outcome {
    /// Encodes the answer to step `step_id`.
    pub(crate) fn into_response(self, step_id: u64) -> Result<v1::StepResponse, InvalidOutcome> {
        self.check()?;
        let outcomes = (!self.sequence_ids.is_empty()).then_some(v1::Outcomes {
            sequence_ids: self.sequence_ids,
            status: self.status,
            token_counts: self.token_counts,
            token_ids: self.token_ids,
            logprobs: self.logprobs,
            top_counts: self.top_counts,
            top_token_ids: self.top_token_ids,
            top_logprobs: self.top_logprobs,
        });
        Ok(v1::StepResponse {
            step_id,
            outcomes,
            timings: Some(v1::StepTimings {
                wait_us: self.timings.wait_us,
                prepare_us: self.timings.prepare_us,
                forward_us: self.timings.forward_us,
                sample_us: self.timings.sample_us,
            }),
            command_results: self
                .command_results
                .into_iter()
                .map(|result| v1::CommandResult {
                    command_id: result.command_id,
                    error: result.error,
                })
                .collect(),
            prompt_logprobs: self
                .prompt_logprobs
                .into_iter()
                .map(PromptLogprobs::into_proto)
                .collect(),
        })
    }

    fn check(&self) -> Result<(), InvalidOutcome> {
        let rows = self.sequence_ids.len() / size_of::<u64>();
        exact("sequence_ids", &self.sequence_ids, rows, 8, "row")?;
        exact("status", &self.status, rows, 1, "row")?;
        exact("token_counts", &self.token_counts, rows, 4, "row")?;
        let tokens = sum(&self.token_counts);
        exact("token_ids", &self.token_ids, tokens, 4, "accepted token")?;
        optional("logprobs", &self.logprobs, tokens, "accepted token")?;
        optional("top_counts", &self.top_counts, tokens, "accepted token")?;
        check_top(&self.top_counts, &self.top_token_ids, &self.top_logprobs)?;
        for prompt in &self.prompt_logprobs {
            let positions = prompt.logprobs.len() / size_of::<f32>();
            exact(
                "prompt_logprobs.logprobs",
                &prompt.logprobs,
                positions,
                4,
                "position",
            )?;
            optional(
                "prompt_logprobs.top_counts",
                &prompt.top_counts,
                positions,
                "position",
            )?;
            check_top(&prompt.top_counts, &prompt.top_token_ids, &prompt.top_logprobs)?;
        }
        Ok(())
    }
}

impl PromptLogprobs {
    fn into_proto(self) -> v1::PromptLogprobs {
        v1::PromptLogprobs {
            sequence_id: self.sequence_id,
            first_position: self.first_position,
            logprobs: self.logprobs,
            top_counts: self.top_counts,
            top_token_ids: self.top_token_ids,
            top_logprobs: self.top_logprobs,
        }
    }
}

fn check_top(counts: &Bytes, ids: &Bytes, logprobs: &Bytes) -> Result<(), InvalidOutcome> {
    let total = sum(counts);
    exact("top_token_ids", ids, total, 4, "entry counted by top_counts")?;
    exact("top_logprobs", logprobs, total, 4, "entry counted by top_counts")
}

fn optional(
    field: &'static str,
    bytes: &Bytes,
    entries: usize,
    per: &'static str,
) -> Result<(), InvalidOutcome> {
    if bytes.is_empty() {
        Ok(())
    } else {
        exact(field, bytes, entries, 4, per)
    }
}

fn exact(
    field: &'static str,
    bytes: &Bytes,
    entries: usize,
    element_bytes: usize,
    per: &'static str,
) -> Result<(), InvalidOutcome> {
    let (given, expected) = (bytes.len(), entries * element_bytes);
    if given == expected {
        Ok(())
    } else {
        Err(InvalidOutcome {
            field,
            given,
            expected,
            element_bytes,
            per,
        })
    }
}

fn sum(counts: &[u8]) -> usize {
    crate::arrays::iter::<i32>(counts)
        .map(|count| count.max(0).unsigned_abs() as usize)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(values: &[i32]) -> Bytes {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn one_token() -> Outcome {
        Outcome {
            sequence_ids: Bytes::copy_from_slice(&7_u64.to_le_bytes()),
            status: Bytes::from_static(&[0]),
            token_counts: packed(&[1]),
            token_ids: packed(&[42]),
            ..Outcome::default()
        }
    }

    #[test]
    fn an_empty_outcome_acknowledges_with_the_step_alone() {
        let response = Outcome::default().into_response(3).unwrap();
        assert_eq!(response.step_id, 3);
        assert_eq!(response.outcomes, None);
    }

    #[test]
    fn arrays_arrive_as_given() {
        let response = one_token().into_response(9).unwrap();
        assert_eq!(response.outcomes.unwrap().token_ids, packed(&[42]));
    }

    #[test]
    fn arrays_that_do_not_fit_together_are_named() {
        let outcome = Outcome {
            token_ids: packed(&[42, 43]),
            ..one_token()
        };
        let error = outcome.into_response(1).unwrap_err().to_string();
        assert_eq!(
            error,
            "token_ids has 8 bytes where 4 are needed: 4 for each accepted token"
        );
        let outcome = Outcome {
            top_counts: packed(&[2]),
            ..one_token()
        };
        assert!(
            outcome
                .into_response(1)
                .unwrap_err()
                .to_string()
                .starts_with("top_token_ids has 0 bytes")
        );
    }
}
