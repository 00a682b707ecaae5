//! One submitted sequence and where it stands.
//!
//! Positions advance by count. `planned` tokens have their KV written once every plan in flight
//! has run, `computed` ones once every applied plan has. `pending` tokens will be sampled by plans
//! in flight; their values are not known yet, their number is:
//!
//! ```text
//! 0 ........ computed ........ planned ........ tokens.len() + pending   (known positions)
//! ```

use std::sync::Arc;

use crate::ids::{BlockId, Micros, RequestId, SequenceId, TokenId};
use crate::plan::Submission;
use crate::prefix::Chain;
use crate::tenants::TenantIndex;

/// Index into the scheduler's slab of sequences. Reused after the sequence is forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Slot(pub(crate) u32);

/// Order of submission; never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Arrival(pub(crate) u64);

/// ## Waiting → Running | forgotten
/// In the queue, without blocks. Admission, or cancellation, deadline, reset to too few blocks.
///
/// ## Running → Preempted | Waiting | Ended | forgotten
/// In the batch. Loses its blocks to another (`Waiting` at once when no plan in flight has a row
/// of it), ends by token, length, failure or cancellation (forgotten at once likewise).
///
/// ## Preempted → Waiting | Ended | forgotten
/// Out of the batch, with rows in flight whose tokens still count.
///
/// ## Ended → forgotten
/// Its terminal event is out; rows in flight still write to its blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No sequence lives in this slot.
    #[default]
    Vacant,
    Waiting,
    Running,
    Preempted,
    Ended,
}

/// The state of one slot of the slab.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sequence {
    pub(crate) phase: Phase,
    /// This admission's id; meaningful unless waiting.
    pub(crate) id: SequenceId,
    pub(crate) planned: u32,
    pub(crate) computed: u32,
    pub(crate) pending: u32,
    /// Rows in plans in flight.
    pub(crate) in_flight: u32,
    /// Tokens at which it ends with `Length`.
    pub(crate) max_length: u32,
    /// Leading blocks of the table that were offered to the prefix cache or came from it.
    pub(crate) cached_blocks: u32,
    pub(crate) tenant: TenantIndex,
    /// Prompt, then generated.
    pub(crate) tokens: Vec<TokenId>,
    pub(crate) blocks: Vec<BlockId>,
    /// Where the first `cached_blocks` end in the prefix cache.
    pub(crate) chain: Chain,

    pub(crate) request: RequestId,
    pub(crate) arrival: Arrival,
    pub(crate) priority: i32,
    pub(crate) num_prompt_tokens: u32,
    /// Tokens from which on a stop token ends it.
    pub(crate) min_length: u32,
    /// `max_length` but for the KV cache, which may change its size.
    pub(crate) requested_length: u32,
    pub(crate) stop_token_ids: Arc<[TokenId]>,
    pub(crate) cache_salt: u64,
    pub(crate) use_prefix_cache: bool,
    /// Counts while it was never started.
    pub(crate) deadline: Option<Micros>,
    pub(crate) started: bool,
    /// Its KV may hold what is not a number: nothing of it is cached any more.
    pub(crate) poisoned: bool,
    /// Later requests admitted while this one waited for blocks.
    pub(crate) bypassed: u32,
    /// Tokens its tenant was charged for, so that a preemption is charged once.
    pub(crate) charged_tokens: u32,
}

impl Sequence {
    /// A waiting sequence. The caller checked that the counts fit into `u32` and each other.
    pub(crate) fn new(
        submission: &Submission,
        arrival: Arrival,
        tenant: TenantIndex,
        max_tokens: u32,
    ) -> Self {
        let prompt = submission.num_prompt_tokens;
        Self {
            phase: Phase::Waiting,
            tenant,
            tokens: submission.tokens.to_vec(),
            request: submission.request,
            arrival,
            priority: submission.priority,
            num_prompt_tokens: prompt,
            min_length: prompt.saturating_add(submission.min_new_tokens),
            requested_length: prompt.saturating_add(submission.max_new_tokens).min(max_tokens),
            stop_token_ids: Arc::clone(&submission.stop_token_ids),
            cache_salt: submission.cache_salt,
            use_prefix_cache: submission.use_prefix_cache,
            deadline: submission.deadline,
            started: (prompt as usize) < submission.tokens.len(),
            ..Self::default()
        }
    }

    /// Known tokens.
    pub(crate) fn len(&self) -> u32 {
        self.tokens.len() as u32
    }

    /// Known tokens once every plan in flight is applied.
    pub(crate) fn planned_len(&self) -> u32 {
        self.len() + self.pending
    }

    /// Tokens that may run next. Zero when the last token it may have is in flight.
    pub(crate) fn runnable(&self) -> u32 {
        let known = self.planned_len();
        if known >= self.max_length {
            0
        } else {
            known - self.planned
        }
    }

    /// Without a terminal event.
    pub(crate) fn is_living(&self) -> bool {
        matches!(self.phase, Phase::Waiting | Phase::Running | Phase::Preempted)
    }

    /// Out of the batch with rows in flight.
    pub(crate) fn is_draining(&self) -> bool {
        matches!(self.phase, Phase::Preempted | Phase::Ended)
    }

    /// Puts a row of `tokens` into flight; whether it samples.
    pub(crate) fn plan_row(&mut self, tokens: u32) -> bool {
        self.planned += tokens;
        self.in_flight += 1;
        let samples = self.planned == self.planned_len();
        self.pending += u32::from(samples);
        samples
    }

    /// Shortens the row that was planned last, which then does not sample.
    pub(crate) fn shorten_row(&mut self, by_tokens: u32, sampled: bool) {
        self.planned -= by_tokens;
        self.pending -= u32::from(sampled);
    }

    /// Takes note that a row ran.
    pub(crate) fn row_applied(&mut self, tokens: u32, samples: bool) {
        self.computed += tokens;
        self.in_flight -= 1;
        self.pending -= u32::from(samples);
    }

    /// Forgets this admission; blocks must be given back already.
    pub(crate) fn leave_batch(&mut self) {
        (self.planned, self.computed, self.pending, self.in_flight) = (0, 0, 0, 0);
        self.cached_blocks = 0;
        self.phase = Phase::Waiting;
    }
}

/// All sequences, addressed by slot.
#[derive(Debug, Default)]
pub(crate) struct Slab {
    entries: Vec<Sequence>,
    vacant: Vec<Slot>,
}

impl Slab {
    pub(crate) fn insert(&mut self, sequence: Sequence) -> Slot {
        if let Some(slot) = self.vacant.pop() {
            self[slot] = sequence;
            return slot;
        }
        self.entries.push(sequence);
        Slot(self.entries.len() as u32 - 1)
    }

    pub(crate) fn remove(&mut self, slot: Slot) {
        self[slot] = Sequence::default();
        self.vacant.push(slot);
    }

    /// All that live or drain.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, &Sequence)> {
        let slots = self
            .entries
            .iter()
            .enumerate()
            .map(|(index, entry)| (Slot(index as u32), entry));
        slots.filter(|(_, entry)| entry.phase != Phase::Vacant)
    }
}

impl std::ops::Index<Slot> for Slab {
    type Output = Sequence;

    fn index(&self, slot: Slot) -> &Sequence {
        &self.entries[slot.0 as usize]
    }
}

impl std::ops::IndexMut<Slot> for Slab {
    fn index_mut(&mut self, slot: Slot) -> &mut Sequence {
        &mut self.entries[slot.0 as usize]
    }
}
