//! `apply`: what a step's outcome means for its sequences.

use crate::error::ProtocolError;
use crate::ids::Micros;
use crate::in_flight::FlightRow;
use crate::plan::{Event, FinishReason, Outcome, RowFailure, RowOutcome};
use crate::scheduler::Scheduler;
use crate::sequence::{Phase, Slot};

impl Scheduler {
    /// Takes the outcome of the oldest plan in flight and tells in `events` what became of it.
    ///
    /// # Errors
    /// When the outcome does not answer that plan. Nothing of it was applied then.
    pub fn apply(
        &mut self,
        outcome: &Outcome,
        now: Micros,
        events: &mut Vec<Event>,
    ) -> Result<(), ProtocolError> {
        events.append(&mut self.undelivered);
        let Some(flight) = self.in_flight.front() else {
            return Err(ProtocolError::NothingInFlight { given: outcome.step });
        };
        flight.check(outcome, |slot| self.sequences[slot].is_living())?;
        let Some(flight) = self.in_flight.pop_front() else {
            return Ok(());
        };
        let mut next = 0;
        for row in &flight.rows {
            let entry = outcome
                .rows
                .get(next)
                .filter(|entry| entry.sequence == row.sequence);
            self.apply_row(row, entry, next as u32, events);
            next += usize::from(entry.is_some());
        }
        self.estimate.step_applied(flight.num_tokens, flight.planned, now);
        self.expire(now);
        events.append(&mut self.undelivered);
        Ok(())
    }

    /// `index` is the entry's place in the outcome.
    fn apply_row(
        &mut self,
        row: &FlightRow,
        entry: Option<&RowOutcome>,
        index: u32,
        events: &mut Vec<Event>,
    ) {
        let sequence = &mut self.sequences[row.slot];
        sequence.row_applied(row.tokens, row.samples);
        let mut end = None;
        if let Some(entry) = entry {
            match entry.failed {
                Some(failure) => {
                    self.distrust(row.slot, failure);
                    end = Some(FinishReason::Failed(failure));
                }
                None => end = self.take_tokens(row.slot, entry, index, events),
            }
        }
        self.cache_full_blocks(row.slot);
        let sequence = &self.sequences[row.slot];
        let is_drained = sequence.in_flight == 0 && sequence.is_draining();
        match end {
            // A sequence that is ended already has had its terminal event.
            Some(reason) if sequence.is_living() => self.finish(row.slot, reason, events),
            _ if is_drained => self.drained(row.slot),
            _ => {}
        }
    }

    /// Appends what was sampled; why the sequence ends with it, if it does.
    fn take_tokens(
        &mut self,
        slot: Slot,
        entry: &RowOutcome,
        row: u32,
        events: &mut Vec<Event>,
    ) -> Option<FinishReason> {
        let sequence = &mut self.sequences[slot];
        if sequence.phase == Phase::Ended {
            return None;
        }
        for (position_in_row, token) in entry.tokens.iter().copied().enumerate() {
            let may_stop = sequence.len() >= sequence.min_length;
            sequence.tokens.push(token);
            let position_in_row = position_in_row as u32;
            events.push(Event::Token {
                request: sequence.request,
                token,
                row,
                position_in_row,
            });
            if may_stop && sequence.stop_token_ids.contains(&token) {
                return Some(FinishReason::Stop(token));
            }
            if sequence.len() >= sequence.max_length {
                return Some(FinishReason::Length);
            }
        }
        None
    }

    /// Offers the blocks that this row filled to the prefix cache. A block counts once its tokens
    /// are known and its last slot is written.
    fn cache_full_blocks(&mut self, slot: Slot) {
        let sequence = &mut self.sequences[slot];
        let block_size = self.config.block_size;
        let full = sequence.computed.min(sequence.len()) / block_size;
        if full <= sequence.cached_blocks || !self.config.prefix_caching {
            return;
        }
        if sequence.poisoned || !sequence.use_prefix_cache {
            return;
        }
        if sequence.cached_blocks == 0 {
            sequence.chain = crate::prefix::Chain::root(sequence.cache_salt);
        }
        for index in sequence.cached_blocks..full {
            let start = (index * block_size) as usize;
            let tokens = &sequence.tokens[start..start + block_size as usize];
            let block = sequence.blocks[index as usize];
            sequence.chain = self.kv.prefix.insert(sequence.chain, tokens, block);
        }
        sequence.cached_blocks = full;
    }

    /// After a row that is not a number no block of the sequence is kept: the values may have come
    /// from any of them.
    fn distrust(&mut self, slot: Slot, failure: RowFailure) {
        let sequence = &mut self.sequences[slot];
        if failure == RowFailure::InvalidLogits {
            sequence.poisoned = true;
            self.kv.forget(&sequence.blocks);
        }
    }
}
