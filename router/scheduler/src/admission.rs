//! The last part of `step`: who of the waiting enters the batch.

use crate::ids::SequenceId;
use crate::plan::Event;
use crate::planning::Draft;
use crate::scheduler::{Running, Scheduler};
use crate::sequence::{Phase, Slot};

/// Waiting sequences that a step looks at without success before it gives up.
const MOST_SET_ASIDE: usize = 8;
/// Of this many blocks one is kept free for the growth of the batch when another is admitted.
const BLOCKS_PER_RESERVED: u32 = 100;

impl Scheduler {
    /// Admits in the queue's order. One that finds too few blocks is set aside and later ones may
    /// pass it, at most `max_bypass` times; then all wait for it.
    pub(crate) fn admit(&mut self, draft: &mut Draft) {
        while self.may_admit(draft) {
            let Some(slot) = self.queue.pick(&self.tenants) else {
                break;
            };
            if self.admit_if_fits(slot, draft) {
                for passed in &draft.set_aside {
                    self.sequences[*passed].bypassed += 1;
                }
            } else {
                draft.set_aside.push(slot);
            }
        }
        while let Some(slot) = draft.set_aside.pop() {
            self.queue.push_front(slot, &self.sequences[slot], &self.tenants);
        }
    }

    fn may_admit(&self, draft: &Draft) -> bool {
        let waits_for = |slot: &Slot| self.sequences[*slot].bypassed >= self.config.max_bypass;
        draft.budget_tokens > 0
            && draft.missing_blocks == 0
            && self.kv.available() > 0
            && self.num_running + self.num_draining < self.config.max_running
            && draft.set_aside.len() < MOST_SET_ASIDE
            && !draft.set_aside.iter().any(waits_for)
    }

    /// Blocks for all its known tokens must be there, not only for its first chunk. (Nobody else is
    /// in the middle of its prefill then: that one would have taken what is left of the budget.)
    fn admit_if_fits(&mut self, slot: Slot, draft: &mut Draft) -> bool {
        let sequence = &self.sequences[slot];
        let looks_up = self.config.prefix_caching && sequence.use_prefix_cache;
        // One token must run, or there is nothing to sample from.
        let most_cached = if looks_up {
            (sequence.len() - 1) / self.config.block_size
        } else {
            0
        };
        let found = self.kv.lookup(
            sequence.cache_salt,
            &sequence.tokens,
            most_cached,
            &mut draft.found,
        );
        let cached = draft.found.len() as u32;
        let new_blocks = self.kv.blocks_for(sequence.len()) - cached;
        let is_alone = self.num_running + self.num_draining == 0;
        let reserve = if is_alone {
            0
        } else {
            self.kv.limit_blocks().div_ceil(BLOCKS_PER_RESERVED)
        };
        let taken = new_blocks + found.unreferenced_blocks + reserve;
        if taken > self.kv.available() {
            return false;
        }
        self.forget_waiting(slot);
        let id = self.new_sequence_id();
        let sequence = &mut self.sequences[slot];
        for block in &draft.found {
            self.kv.acquire_cached(*block);
        }
        sequence.id = id;
        sequence.phase = Phase::Running;
        sequence.blocks.extend_from_slice(&draft.found);
        (sequence.chain, sequence.cached_blocks) = (found.chain, cached);
        sequence.planned = cached * self.config.block_size;
        sequence.computed = sequence.planned;
        (sequence.started, sequence.bypassed) = (true, 0);
        self.note_admission(slot, looks_up, draft);
        true
    }

    /// Books an admission and plans its first row.
    fn note_admission(&mut self, slot: Slot, looked_up: bool, draft: &mut Draft) {
        let sequence = &mut self.sequences[slot];
        let (length, cached_tokens) = (sequence.len(), sequence.planned);
        let charge = (length - cached_tokens).saturating_sub(sequence.charged_tokens);
        sequence.charged_tokens += charge;
        self.tenants.charge(sequence.tenant, charge);
        if looked_up {
            self.prefix_queries_tokens += u64::from(length);
            self.prefix_hits_tokens += u64::from(cached_tokens);
        }
        self.estimate
            .sequence_admitted(length - cached_tokens, sequence.max_length - length);
        self.undelivered.push(Event::Started {
            request: sequence.request,
            cached_tokens,
        });
        let entry = Running::new(slot, sequence);
        let place = self
            .running
            .partition_point(|other| other.order() < entry.order());
        self.running.insert(place, entry);
        self.num_running += 1;
        draft.admitted.push(slot);

        let sequence = &self.sequences[slot];
        let tokens = (length - cached_tokens).min(draft.budget_tokens);
        let held = sequence.blocks.len() as u32;
        let new_blocks = self.kv.blocks_for(cached_tokens + tokens) - held;
        self.plan_row(slot, tokens, new_blocks, draft);
    }

    fn new_sequence_id(&mut self) -> SequenceId {
        self.last_sequence.0 += 1;
        self.last_sequence
    }
}
