//! Plans that were handed out and whose outcomes are awaited.

use crate::error::ProtocolError;
use crate::ids::{Micros, SequenceId, StepId};
use crate::plan::{Outcome, RowOutcome};
use crate::sequence::Slot;

/// One row of a plan, as the scheduler remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlightRow {
    pub(crate) slot: Slot,
    pub(crate) sequence: SequenceId,
    pub(crate) tokens: u32,
    pub(crate) new_blocks: u32,
    /// Whether it brings the computed tokens of its sequence up to the known ones.
    pub(crate) samples: bool,
}

/// A plan in flight.
#[derive(Clone, Debug)]
pub(crate) struct Flight {
    pub(crate) step: StepId,
    pub(crate) planned: Micros,
    pub(crate) num_tokens: u32,
    pub(crate) rows: Vec<FlightRow>,
}

impl Flight {
    /// Whether `outcome` answers this plan. Entries of sequences that ended meanwhile may be there
    /// or not: after a failed row the shard has nothing to sample for the next one.
    pub(crate) fn check(
        &self,
        outcome: &Outcome,
        is_living: impl Fn(Slot) -> bool,
    ) -> Result<(), ProtocolError> {
        let step = self.step;
        if outcome.step != step {
            return Err(ProtocolError::WrongStep {
                expected: step,
                given: outcome.step,
            });
        }
        let mut entries = outcome.rows.iter().peekable();
        for row in &self.rows {
            match entries.next_if(|entry| entry.sequence == row.sequence) {
                Some(entry) => self.check_entry(row, entry)?,
                None if row.samples && is_living(row.slot) => {
                    return Err(ProtocolError::Missing {
                        step,
                        sequence: row.sequence,
                    });
                }
                None => {}
            }
        }
        match entries.next() {
            Some(entry) => Err(ProtocolError::Unexpected {
                step,
                sequence: entry.sequence,
            }),
            None => Ok(()),
        }
    }

    fn check_entry(&self, row: &FlightRow, entry: &RowOutcome) -> Result<(), ProtocolError> {
        let (step, sequence, given) = (self.step, row.sequence, entry.tokens.len() as u32);
        let expected = u32::from(entry.failed.is_none());
        if expected == 1 && !row.samples {
            return Err(ProtocolError::Unexpected { step, sequence });
        }
        if given != expected {
            return Err(ProtocolError::TokenCount {
                step,
                sequence,
                expected,
                given,
            });
        }
        Ok(())
    }
}
