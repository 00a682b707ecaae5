//! A step that is larger than a message travels in several parts.
//!
//! All parts carry the step's id and epoch. Every part but the last sets `more` and has no rows;
//! the first has `drop` and `commands`; new sequences keep their order. Only the whole is answered.

use prost::Message;

use crate::v1::StepRequest;

/// Largest message either side accepts or sends, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// Bytes that the tag and the length of an embedded message may add to it.
const EMBEDDING_BYTES: usize = 11;

/// Why a step cannot travel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} takes {bytes} bytes, which is more than the {limit} bytes of a message")]
pub struct TooLarge {
    /// What cannot be split further.
    pub what: String,
    /// Its size.
    pub bytes: usize,
    /// `MAX_MESSAGE_BYTES`, or what the caller allowed.
    pub limit: usize,
}

/// Cuts a step into parts of at most `limit` bytes; one part when it fits.
///
/// # Errors
/// When a single new sequence, or the step without its new sequences, is larger than `limit`.
pub fn split(mut step: StepRequest, limit: usize) -> Result<Vec<StepRequest>, TooLarge> {
    if step.encoded_len() <= limit {
        return Ok(vec![step]);
    }
    let (step_id, session_epoch) = (step.step_id, step.session_epoch);
    let empty = || StepRequest {
        step_id,
        session_epoch,
        more: true,
        ..StepRequest::default()
    };
    let sequences = std::mem::take(&mut step.new_sequences);
    let rows = step.rows.take();
    let mut parts = Vec::new();
    let mut part = StepRequest { more: true, ..step };
    let mut bytes = checked(part.encoded_len(), limit, || {
        "dropping sequences and commands".to_owned()
    })?;
    for sequence in sequences {
        let size = sequence.encoded_len() + EMBEDDING_BYTES;
        if bytes + size > limit {
            parts.push(std::mem::replace(&mut part, empty()));
            let alone = size + part.encoded_len();
            bytes = checked(alone, limit, || format!("sequence {}", sequence.sequence_id))?;
        } else {
            bytes += size;
        }
        part.new_sequences.push(sequence);
    }
    let size = rows
        .as_ref()
        .map_or(0, |rows| rows.encoded_len() + EMBEDDING_BYTES);
    if bytes + size > limit {
        parts.push(std::mem::replace(&mut part, empty()));
        checked(size + part.encoded_len(), limit, || "the step's rows".to_owned())?;
    }
    part.rows = rows;
    part.more = false;
    parts.push(part);
    Ok(parts)
}

fn checked(bytes: usize, limit: usize, what: impl FnOnce() -> String) -> Result<usize, TooLarge> {
    if bytes <= limit {
        Ok(bytes)
    } else {
        Err(TooLarge {
            what: what(),
            bytes,
            limit,
        })
    }
}

/// Why parts do not make a step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartError {
    /// A part of another step came before the last one of this.
    #[error("step {got} came before the last part of step {begun}")]
    Interrupted {
        /// The step whose parts are being gathered.
        begun: u64,
        /// The step of the part that came.
        got: u64,
    },
    /// Rows before the last part.
    #[error("step {step}: only the last part has rows")]
    EarlyRows {
        /// The step.
        step: u64,
    },
    /// Drops or commands after the first part.
    #[error("step {step}: only the first part has drop and commands")]
    LateEffects {
        /// The step.
        step: u64,
    },
}

/// Puts the parts of a step together again.
#[derive(Debug, Default)]
pub struct Assembler {
    begun: Option<StepRequest>,
}

impl Assembler {
    /// Takes the next message; gives the whole step with its last part.
    ///
    /// # Errors
    /// When the message is not the next part of the step that has begun.
    pub fn push(&mut self, mut part: StepRequest) -> Result<Option<StepRequest>, PartError> {
        let step = part.step_id;
        if part.more && part.rows.is_some() {
            return Err(PartError::EarlyRows { step });
        }
        let last = !part.more;
        let whole = match self.begun.take() {
            None => part,
            Some(begun) if begun.step_id != step => {
                return Err(PartError::Interrupted {
                    begun: begun.step_id,
                    got: step,
                });
            }
            Some(_) if !part.drop.is_empty() || !part.commands.is_empty() => {
                return Err(PartError::LateEffects { step });
            }
            Some(mut begun) => {
                begun.new_sequences.append(&mut part.new_sequences);
                begun.rows = part.rows;
                begun.more = part.more;
                begun
            }
        };
        if last {
            return Ok(Some(whole));
        }
        self.begun = Some(whole);
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrays::{pack, pack_u32};
    use crate::v1::{NewSequence, Rows};

    fn sequence(id: u64, tokens: usize) -> NewSequence {
        let token_ids = pack_u32(vec![7; tokens].into_iter());
        NewSequence {
            sequence_id: id,
            token_ids,
            num_prompt_tokens: 1,
            ..NewSequence::default()
        }
    }

    fn step(sequences: Vec<NewSequence>) -> StepRequest {
        let rows = Rows {
            sequence_ids: pack(0..sequences.len() as u64),
            ..Rows::default()
        };
        StepRequest {
            step_id: 5,
            session_epoch: 9,
            drop: pack([1_u64, 2].into_iter()),
            new_sequences: sequences,
            rows: Some(rows),
            ..StepRequest::default()
        }
    }

    #[test]
    fn a_step_that_fits_is_one_message() {
        let whole = step(vec![sequence(0, 10)]);
        assert_eq!(split(whole.clone(), MAX_MESSAGE_BYTES), Ok(vec![whole]));
    }

    #[test]
    fn parts_fit_and_make_the_step_again() {
        let whole = step((0..40).map(|id| sequence(id, 10 + id as usize)).collect());
        for limit in [400, 777, 2_000, 5_000] {
            let parts = split(whole.clone(), limit).unwrap();
            assert!(parts.len() > 1);
            assert!(
                parts.iter().all(|part| part.encoded_len() <= limit),
                "limit {limit}"
            );
            let mut assembler = Assembler::default();
            let mut gathered = None;
            for part in parts {
                assert_eq!(gathered, None, "only the last part completes the step");
                gathered = assembler.push(part).unwrap();
            }
            assert_eq!(gathered, Some(whole.clone()));
        }
    }

    #[test]
    fn what_cannot_be_split_is_named() {
        let error = split(step(vec![sequence(3, 1_000)]), 500).unwrap_err();
        assert_eq!(error.what, "sequence 3");
    }

    #[test]
    fn parts_of_two_steps_do_not_mix() {
        let mut assembler = Assembler::default();
        let part = |step_id, more| StepRequest {
            step_id,
            more,
            ..StepRequest::default()
        };
        assert_eq!(assembler.push(part(1, true)), Ok(None));
        assert_eq!(
            assembler.push(part(2, false)),
            Err(PartError::Interrupted { begun: 1, got: 2 })
        );
    }

    #[test]
    fn rows_come_last_and_drops_first() {
        let early = StepRequest {
            more: true,
            ..step(vec![])
        };
        assert_eq!(
            Assembler::default().push(early),
            Err(PartError::EarlyRows { step: 5 })
        );
        let mut assembler = Assembler::default();
        let first = StepRequest {
            step_id: 5,
            more: true,
            ..StepRequest::default()
        };
        assert_eq!(assembler.push(first), Ok(None));
        assert_eq!(
            assembler.push(step(vec![])),
            Err(PartError::LateEffects { step: 5 })
        );
    }
}
