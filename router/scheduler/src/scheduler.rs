//! The scheduler's state and the verbs that come from requests. `step` is in `planning` and
//! `admission`, `apply` in `applying`.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasherDefault, DefaultHasher};

use crate::estimate::Estimate;
use crate::ids::{Micros, RequestId, SequenceId, StepId};
use crate::in_flight::Flight;
use crate::kv::KvCache;
use crate::plan::{Config, Event, FinishReason, Rejection, Stats, Submission};
use crate::planning::Draft;
use crate::queue::Queue;
use crate::sequence::{Arrival, Phase, Sequence, Slab, Slot};
use crate::tenants::Tenants;

/// An entry of the batch. Stale when its slot no longer holds that admission.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running {
    pub(crate) priority: i32,
    pub(crate) slot: Slot,
    pub(crate) arrival: Arrival,
    pub(crate) sequence: SequenceId,
}

impl Running {
    pub(crate) fn new(slot: Slot, sequence: &Sequence) -> Self {
        let Sequence {
            priority,
            arrival,
            id,
            ..
        } = *sequence;
        Self {
            priority,
            slot,
            arrival,
            sequence: id,
        }
    }

    /// Where it stands in the batch.
    pub(crate) fn order(&self) -> (Reverse<i32>, Arrival) {
        (Reverse(self.priority), self.arrival)
    }

    pub(crate) fn is_current(&self, sequence: &Sequence) -> bool {
        sequence.phase == Phase::Running && sequence.id == self.sequence
    }
}

/// Decides which sequences advance by how many tokens and in which KV blocks.
///
/// The loop of its owner: `step` until it answers `None`, send each plan, `apply` the outcomes in
/// the order of the plans. What `step` decided about requests (started, preempted, deadline
/// exceeded) is delivered by the next `apply`, `cancel` or `reset`, or at once by `take_events`.
#[derive(Debug)]
pub struct Scheduler {
    pub(crate) config: Config,
    pub(crate) kv: KvCache,
    pub(crate) sequences: Slab,
    pub(crate) by_request: HashMap<RequestId, Slot, BuildHasherDefault<DefaultHasher>>,
    /// Higher priority first, then earlier arrival; may hold stale entries until the next `step`.
    pub(crate) running: Vec<Running>,
    pub(crate) queue: Queue,
    pub(crate) tenants: Tenants,
    /// Of the waiting sequences that were never started.
    pub(crate) deadlines: BTreeSet<(Micros, Slot)>,
    /// Oldest first.
    pub(crate) in_flight: VecDeque<Flight>,
    /// Sequences the shards may forget.
    pub(crate) drops: Vec<SequenceId>,
    pub(crate) undelivered: Vec<Event>,
    pub(crate) estimate: Estimate,
    /// Reused by every `step`.
    pub(crate) draft: Draft,
    pub(crate) num_running: u32,
    /// Sequences out of the batch with rows in flight.
    pub(crate) num_draining: u32,
    /// Sum of their tables: what comes free without taking it from anyone.
    pub(crate) draining_blocks: u32,
    /// Known tokens of the waiting sequences.
    pub(crate) waiting_tokens: u64,
    pub(crate) next_step: StepId,
    pub(crate) last_sequence: SequenceId,
    pub(crate) last_arrival: Arrival,
    pub(crate) preemptions: u64,
    pub(crate) prefix_queries_tokens: u64,
    pub(crate) prefix_hits_tokens: u64,
}

impl Scheduler {
    /// An empty scheduler. Counts of zero that would stop everything (block size, step tokens,
    /// running sequences, overlap) are taken as one.
    #[must_use]
    pub fn new(mut config: Config) -> Self {
        config.block_size = config.block_size.max(1);
        config.max_step_tokens = config.max_step_tokens.max(1);
        config.max_running = config.max_running.max(1);
        config.overlap_depth = config.overlap_depth.max(1);
        Self {
            kv: new_cache(&config),
            config,
            sequences: Slab::default(),
            by_request: HashMap::default(),
            running: Vec::new(),
            queue: Queue::default(),
            tenants: Tenants::default(),
            deadlines: BTreeSet::new(),
            in_flight: VecDeque::new(),
            drops: Vec::new(),
            undelivered: Vec::new(),
            estimate: Estimate::default(),
            draft: Draft::default(),
            num_running: 0,
            num_draining: 0,
            draining_blocks: 0,
            waiting_tokens: 0,
            next_step: StepId(1),
            last_sequence: SequenceId(0),
            last_arrival: Arrival(0),
            preemptions: 0,
            prefix_queries_tokens: 0,
            prefix_hits_tokens: 0,
        }
    }

    /// What it may use. `num_blocks` is that of the last `reset`.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Most tokens a submission may have so that one more can be generated.
    #[must_use]
    pub fn max_submission_tokens(&self) -> u32 {
        self.config
            .max_sequence_tokens
            .saturating_sub(1)
            .min(self.capacity_tokens())
    }

    /// Takes a sequence in. It waits until a `step` admits it.
    ///
    /// # Errors
    /// See [`Rejection`]; nothing is kept of a rejected submission.
    pub fn submit(&mut self, submission: Submission, now: Micros) -> Result<(), Rejection> {
        let tokens = u32::try_from(submission.tokens.len()).unwrap_or(u32::MAX);
        let prompt = submission.num_prompt_tokens;
        if prompt == 0 || prompt > tokens || tokens - prompt >= submission.max_new_tokens {
            return Err(Rejection::Malformed);
        }
        let limit = self.max_submission_tokens();
        if tokens > limit {
            return Err(Rejection::TooLong { tokens, limit });
        }
        if self.by_request.contains_key(&submission.request) {
            return Err(Rejection::Duplicate);
        }
        if self.queue.len() >= self.config.max_waiting {
            let retry_after = self.retry_after(now);
            return Err(Rejection::QueueFull {
                limit: self.config.max_waiting,
                retry_after,
            });
        }
        self.last_arrival.0 += 1;
        let tenant = self.tenants.join(submission.tenant);
        let mut sequence = Sequence::new(
            &submission,
            self.last_arrival,
            tenant,
            self.config.max_sequence_tokens,
        );
        sequence.max_length = self.length_that_fits(sequence.requested_length);
        let slot = self.sequences.insert(sequence);
        self.by_request.insert(submission.request, slot);
        let sequence = &self.sequences[slot];
        if let (Some(deadline), false) = (sequence.deadline, sequence.started) {
            self.deadlines.insert((deadline, slot));
        }
        self.waiting_tokens += u64::from(sequence.len());
        self.queue.push_back(slot, sequence, &self.tenants);
        Ok(())
    }

    /// Ends a request at once with `Finished { Cancelled }`; nothing happens when it is not alive.
    /// Its blocks are free at once, or when the last plan in flight with a row of it is applied.
    pub fn cancel(&mut self, request: RequestId, events: &mut Vec<Event>) {
        events.append(&mut self.undelivered);
        let Some(slot) = self.by_request.get(&request).copied() else {
            return;
        };
        if self.sequences[slot].phase == Phase::Waiting {
            self.leave_queue(slot);
        }
        self.finish(slot, FinishReason::Cancelled, events);
    }

    /// The shard group is lost and a new session begins with `num_blocks` empty blocks: every
    /// sequence waits again with the tokens it has, plans in flight are forgotten and their outcomes
    /// must not be applied. No `Preempted` tells of it; `Started` comes again. Steps count from 1
    /// again; sequence ids go on. What no longer fits into the cache ends with `Length`.
    pub fn reset(&mut self, num_blocks: u32, now: Micros, events: &mut Vec<Event>) {
        self.config.num_blocks = num_blocks;
        self.kv = new_cache(&self.config);
        self.in_flight.clear();
        self.drops.clear();
        self.running.clear();
        (self.num_running, self.num_draining, self.draining_blocks) = (0, 0, 0);
        self.next_step = StepId(1);
        self.estimate.session_lost();
        let mut slots: Vec<(Arrival, Slot)> = self
            .sequences
            .iter()
            .map(|(slot, sequence)| (sequence.arrival, slot))
            .collect();
        // Newest first: each goes to the front of its lane.
        slots.sort_unstable_by(|left, right| right.cmp(left));
        let limit = self.max_submission_tokens();
        for (_, slot) in slots {
            self.reset_sequence(slot, limit, events);
        }
        self.expire(now);
        events.append(&mut self.undelivered);
    }

    fn reset_sequence(&mut self, slot: Slot, limit: u32, events: &mut Vec<Event>) {
        let max_length = self.length_that_fits(self.sequences[slot].requested_length);
        let sequence = &mut self.sequences[slot];
        sequence.max_length = max_length;
        sequence.blocks.clear();
        match sequence.phase {
            Phase::Ended => return self.sequences.remove(slot),
            Phase::Running | Phase::Preempted => {
                sequence.leave_batch();
                self.enqueue_again(slot);
            }
            Phase::Waiting | Phase::Vacant => {}
        }
        if self.sequences[slot].len() > limit {
            // Started events that were not delivered yet come before the end.
            events.append(&mut self.undelivered);
            self.leave_queue(slot);
            self.finish(slot, FinishReason::Length, events);
        }
    }

    /// Moves what `step` decided about requests since the last call to the end of `events`.
    pub fn take_events(&mut self, events: &mut Vec<Event>) {
        events.append(&mut self.undelivered);
    }

    /// When a request that is refused now could be admitted: the time to work through all that
    /// waits and until one of the running ends, at the measured speed. Not less than the oldest plan
    /// in flight has been out already: a group that hangs is not expected back sooner.
    #[must_use]
    pub fn retry_after(&self, now: Micros) -> Micros {
        let hangs = self
            .in_flight
            .front()
            .map_or(Micros(0), |flight| now.since(flight.planned));
        self.estimate
            .time_of_work(self.waiting_tokens, self.queue.len(), self.num_running)
            .max(hangs)
    }

    /// Whether a request is alive, a plan in flight or an event not taken.
    #[must_use]
    pub fn has_work(&self) -> bool {
        !self.by_request.is_empty() || !self.in_flight.is_empty() || !self.undelivered.is_empty()
    }

    /// The requests in the batch.
    pub fn running_requests(&self) -> impl Iterator<Item = RequestId> + '_ {
        self.sequences
            .iter()
            .filter(|(_, sequence)| sequence.phase == Phase::Running)
            .map(|(_, sequence)| sequence.request)
    }

    /// The requests without a terminal event.
    pub fn living_requests(&self) -> impl Iterator<Item = RequestId> + '_ {
        self.sequences
            .iter()
            .filter(|(_, sequence)| sequence.is_living())
            .map(|(_, sequence)| sequence.request)
    }

    /// Counts for metrics.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            waiting: self.queue.len(),
            running: self.num_running,
            in_flight: self.in_flight.len() as u32,
            blocks_total: self.kv.pool.num_blocks(),
            blocks_in_use: self.kv.pool.in_use(),
            blocks_cached: self.kv.prefix.num_unreferenced(),
            preemptions: self.preemptions,
            prefix_queries_tokens: self.prefix_queries_tokens,
            prefix_hits_tokens: self.prefix_hits_tokens,
        }
    }

    /// Tokens of KV that a single sequence could have at most.
    fn capacity_tokens(&self) -> u32 {
        let blocks = self.kv.limit_blocks().saturating_mul(self.config.block_size);
        blocks.min(self.config.max_total_tokens.unwrap_or(u32::MAX))
    }

    /// The KV of a sequence's last token is never needed.
    fn length_that_fits(&self, requested: u32) -> u32 {
        requested.min(self.capacity_tokens().saturating_add(1))
    }

    /// Ends whoever waits for a first admission beyond its deadline.
    pub(crate) fn expire(&mut self, now: Micros) {
        while let Some((deadline, slot)) = self.deadlines.first().copied() {
            if deadline > now {
                return;
            }
            self.leave_queue(slot);
            let mut events = std::mem::take(&mut self.undelivered);
            self.finish(slot, FinishReason::DeadlineExceeded, &mut events);
            self.undelivered = events;
        }
    }

    /// Takes a waiting sequence out of everything that is about waiting.
    pub(crate) fn leave_queue(&mut self, slot: Slot) {
        self.queue.remove(slot, &self.tenants);
        self.forget_waiting(slot);
    }

    /// The part of leaving the queue that is left when it was picked from it.
    pub(crate) fn forget_waiting(&mut self, slot: Slot) {
        let sequence = &self.sequences[slot];
        self.waiting_tokens -= u64::from(sequence.len());
        if let Some(deadline) = sequence.deadline {
            self.deadlines.remove(&(deadline, slot));
        }
    }

    /// Puts a sequence that left the batch before those of its lane that came later.
    pub(crate) fn enqueue_again(&mut self, slot: Slot) {
        let sequence = &self.sequences[slot];
        self.waiting_tokens += u64::from(sequence.len());
        self.queue.push_front(slot, sequence, &self.tenants);
    }

    /// The terminal event. The sequence must be out of the queue; it drains while it has rows in
    /// flight and is forgotten after.
    pub(crate) fn finish(&mut self, slot: Slot, reason: FinishReason, events: &mut Vec<Event>) {
        let sequence = &mut self.sequences[slot];
        let was = std::mem::replace(&mut sequence.phase, Phase::Ended);
        let (request, tenant) = (sequence.request, sequence.tenant);
        let generated = sequence.len() - sequence.num_prompt_tokens;
        let charged = sequence.charged_tokens;
        let (in_flight, blocks) = (sequence.in_flight, sequence.blocks.len() as u32);
        self.by_request.remove(&request);
        self.tenants.leave(tenant);
        events.push(Event::Finished { request, reason });
        if matches!(reason, FinishReason::Stop(_) | FinishReason::Length) {
            // Its decode rows were charged too: one for each token but the first.
            let prefilled = charged.saturating_sub(generated.saturating_sub(1));
            self.estimate.sequence_finished(prefilled, generated);
        }
        match was {
            Phase::Running => {
                self.num_running -= 1;
                self.num_draining += 1;
                self.draining_blocks += blocks;
            }
            Phase::Waiting => return self.sequences.remove(slot),
            Phase::Preempted | Phase::Ended | Phase::Vacant => {}
        }
        if in_flight == 0 {
            self.drained(slot);
        }
    }

    /// The last row of a sequence that left the batch is applied: its blocks come free, the shards
    /// may forget it, and it waits again unless it ended.
    pub(crate) fn drained(&mut self, slot: Slot) {
        let sequence = &mut self.sequences[slot];
        self.num_draining -= 1;
        self.draining_blocks -= sequence.blocks.len() as u32;
        self.drops.push(sequence.id);
        self.kv.release(&mut sequence.blocks);
        if sequence.phase == Phase::Ended {
            self.sequences.remove(slot);
        } else {
            sequence.leave_batch();
            self.enqueue_again(slot);
        }
    }
}

fn new_cache(config: &Config) -> KvCache {
    let limit = config
        .max_total_tokens
        .map_or(u32::MAX, |tokens| (tokens / config.block_size).max(1));
    KvCache::new(config.num_blocks, config.block_size, limit)
}
