//! `step`: one token budget over the batch, decode rows first, then chunks of prefill.

use crate::ids::{BlockId, Micros};
use crate::in_flight::{Flight, FlightRow};
use crate::pacing::{Backlog, step_limit};
use crate::plan::{Admission, Event, Plan, Row};
use crate::scheduler::{Running, Scheduler};
use crate::sequence::{Phase, Slot};

/// Plans that may always be in flight when the depth allows it.
const ALWAYS_IN_FLIGHT: usize = 2;
/// Work in flight beyond which no further plan helps to keep the device busy.
const ENOUGH_IN_FLIGHT: Micros = Micros(5_000);

/// A step that takes shape. Its buffers are kept from step to step.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    /// Most tokens of the step.
    limit_tokens: u32,
    /// What is left of them.
    pub(crate) budget_tokens: u32,
    /// Rows of one token.
    pub(crate) decodes: Vec<FlightRow>,
    /// Chunks of prefill.
    pub(crate) chunks: Vec<FlightRow>,
    pub(crate) admitted: Vec<Slot>,
    /// Indices into `running` of sequences with more than one token to run.
    pub(crate) prefilling: Vec<u32>,
    /// Blocks that rows could not get; nobody is admitted while somebody lacks one.
    pub(crate) missing_blocks: u32,
    /// Waiting sequences that did not fit into this step.
    pub(crate) set_aside: Vec<Slot>,
    /// Of the lookup under way.
    pub(crate) found: Vec<BlockId>,
}

impl Draft {
    fn clear(&mut self, limit_tokens: u32) {
        self.limit_tokens = limit_tokens;
        self.budget_tokens = limit_tokens;
        self.decodes.clear();
        self.chunks.clear();
        self.admitted.clear();
        self.prefilling.clear();
        self.set_aside.clear();
        self.missing_blocks = 0;
    }

    fn num_tokens(&self) -> u32 {
        self.limit_tokens - self.budget_tokens
    }

    /// Lowers the limit, never below what is planned.
    fn lower_limit(&mut self, limit_tokens: u32) {
        let planned = self.num_tokens();
        self.limit_tokens = limit_tokens.clamp(planned, self.limit_tokens);
        self.budget_tokens = self.limit_tokens - planned;
    }
}

impl Scheduler {
    /// The next plan; `None` when nothing can run or enough plans are in flight.
    pub fn step(&mut self, now: Micros) -> Option<Plan> {
        if !self.may_plan_ahead() {
            return None;
        }
        self.expire(now);
        let mut draft = std::mem::take(&mut self.draft);
        draft.clear(self.config.max_step_tokens);
        self.plan_decodes(&mut draft);
        let decodes = draft.decodes.len() as u32;
        draft.lower_limit(step_limit(
            &self.config,
            decodes,
            self.backlog(&draft),
            self.estimate.prefill_per_token(),
        ));
        self.plan_chunks(&mut draft);
        self.admit(&mut draft);
        self.trim_to_edge(&mut draft);
        self.tenants.advance();
        let has_rows = !draft.decodes.is_empty() || !draft.chunks.is_empty();
        let plan = has_rows.then(|| self.seal(&mut draft, now));
        self.draft = draft;
        plan
    }

    /// Of sequences in the batch, and of as many waiting ones as it and the cache have room for.
    fn backlog(&self, draft: &Draft) -> Backlog {
        let in_batch = draft.prefilling.iter().filter_map(|position| {
            let entry = self.running.get(*position as usize)?;
            Some(u64::from(self.sequences[entry.slot].runnable()))
        });
        let taken = self.num_running + self.num_draining;
        let places = self.config.max_running.saturating_sub(taken);
        let waiting = self.queue.len();
        let tokens = self.waiting_tokens / u64::from(waiting.max(1));
        let room = u64::from(self.kv.available()) * u64::from(self.config.block_size);
        let admitted = u64::from(places.min(waiting)).min(room / tokens.max(1));
        Backlog {
            sequences: draft.prefilling.len() as u32 + admitted as u32,
            tokens: in_batch.sum::<u64>() + admitted * tokens,
        }
    }

    fn may_plan_ahead(&self) -> bool {
        let in_flight = self.in_flight.len();
        let depth = self.config.overlap_depth as usize;
        if in_flight < depth.min(ALWAYS_IN_FLIGHT) {
            return true;
        }
        let estimated = self.estimate.time_of_steps(in_flight);
        in_flight < depth && estimated.is_some_and(|time| time < ENOUGH_IN_FLIGHT)
    }

    /// Rows of one token, in the order of the batch; drops stale entries of the batch on the way.
    fn plan_decodes(&mut self, draft: &mut Draft) {
        let block_size = self.config.block_size;
        let (mut read, mut write) = (0, 0);
        while read < self.running.len() {
            let entry = self.running[read];
            read += 1;
            let sequence = &self.sequences[entry.slot];
            if !entry.is_current(sequence) {
                continue;
            }
            self.running[write] = entry;
            write += 1;
            match sequence.runnable() {
                0 => continue,
                1 => {}
                _ => {
                    draft.prefilling.push(write as u32 - 1);
                    continue;
                }
            }
            if draft.budget_tokens == 0 {
                continue;
            }
            let needs_block = sequence.planned == sequence.blocks.len() as u32 * block_size;
            if needs_block && !self.make_room(1, read, draft) {
                continue;
            }
            self.plan_row(entry.slot, 1, u32::from(needs_block), draft);
            let tenant = self.sequences[entry.slot].tenant;
            self.sequences[entry.slot].charged_tokens += 1;
            self.tenants.charge(tenant, 1);
        }
        self.running.truncate(write);
    }

    /// Chunks of sequences that are in the batch already, in its order.
    fn plan_chunks(&mut self, draft: &mut Draft) {
        for index in 0..draft.prefilling.len() {
            let position = draft.prefilling[index] as usize;
            // Behind the end: preempted for one before it.
            let Some(entry) = self.running.get(position).copied() else {
                break;
            };
            let tokens = self.sequences[entry.slot].runnable().min(draft.budget_tokens);
            if tokens == 0 {
                break;
            }
            self.plan_chunk(entry, position + 1, tokens, draft);
        }
    }

    /// One chunk of at most `tokens`, fewer when there are fewer blocks.
    fn plan_chunk(&mut self, entry: Running, victims_from: usize, tokens: u32, draft: &mut Draft) {
        let sequence = &self.sequences[entry.slot];
        let held = sequence.blocks.len() as u32;
        let planned = sequence.planned;
        let wanted = self.kv.blocks_for(planned + tokens).saturating_sub(held);
        let mut granted = wanted;
        if wanted > 0 && !self.make_room(wanted, victims_from, draft) {
            granted = self.kv.available().min(wanted);
        }
        let room = (held + granted) * self.config.block_size - planned;
        if room > 0 {
            self.plan_row(entry.slot, tokens.min(room), granted, draft);
        }
    }

    /// Puts a row into the draft; the blocks must be available.
    pub(crate) fn plan_row(&mut self, slot: Slot, tokens: u32, new_blocks: u32, draft: &mut Draft) {
        let sequence = &mut self.sequences[slot];
        if new_blocks > 0 {
            self.kv.extend(&mut sequence.blocks, new_blocks);
        }
        let is_decode = sequence.runnable() == 1;
        let samples = sequence.plan_row(tokens);
        let row = FlightRow {
            slot,
            sequence: sequence.id,
            tokens,
            new_blocks,
            samples,
        };
        draft.budget_tokens -= tokens;
        if is_decode {
            draft.decodes.push(row);
        } else {
            draft.chunks.push(row);
        }
    }

    /// Makes `count` blocks available by preempting from the end of the batch, not before index
    /// `victims_from`. False when they come free only with outcomes that are in flight (then nobody
    /// more is preempted than these will not cover) or not at all: the row waits.
    fn make_room(&mut self, count: u32, victims_from: usize, draft: &mut Draft) -> bool {
        loop {
            if self.kv.available() >= count {
                return true;
            }
            let coming = self.kv.available() + self.draining_blocks;
            if coming >= draft.missing_blocks + count || !self.preempt_last(victims_from) {
                draft.missing_blocks += count;
                return false;
            }
        }
    }

    /// Takes the lowest-priority newest sequence out of the batch. What it has in flight still
    /// counts; it waits again after that. False when there is nobody from index `victims_from` on.
    fn preempt_last(&mut self, victims_from: usize) -> bool {
        while self.running.len() > victims_from {
            let Some(entry) = self.running.pop() else {
                return false;
            };
            let sequence = &mut self.sequences[entry.slot];
            if !entry.is_current(sequence) {
                continue;
            }
            sequence.phase = Phase::Preempted;
            let (request, in_flight) = (sequence.request, sequence.in_flight);
            self.num_running -= 1;
            self.num_draining += 1;
            self.draining_blocks += sequence.blocks.len() as u32;
            self.preemptions += 1;
            self.undelivered.push(Event::Preempted { request });
            if in_flight == 0 {
                self.drained(entry.slot);
            }
            return true;
        }
        false
    }

    /// Shortens the last chunk so that the step ends at an edge instead of just past it.
    ///
    /// Worth it only when a step follows anyway (something decodes, or prefill is left over), and
    /// when less than half of the next tile would be used: a lone prompt is not split in two.
    fn trim_to_edge(&mut self, draft: &mut Draft) {
        let Some(last) = draft.chunks.last().copied() else {
            return;
        };
        let total = draft.num_tokens();
        let edges = &self.config.step_token_edges;
        let above = edges.partition_point(|edge| *edge <= total);
        let Some(edge) = above.checked_sub(1).map(|index| edges[index]) else {
            return;
        };
        let excess = total - edge;
        let gap = match edges.get(above) {
            Some(next) => next - edge,
            None => edge - above.checked_sub(2).map_or(0, |index| edges[index]),
        };
        let follows = !draft.decodes.is_empty() || !last.samples || draft.budget_tokens == 0;
        if excess == 0 || excess >= last.tokens || excess * 2 >= gap || !follows {
            return;
        }
        self.shorten_last_chunk(excess, draft);
    }

    fn shorten_last_chunk(&mut self, by_tokens: u32, draft: &mut Draft) {
        let Some(row) = draft.chunks.last_mut() else {
            return;
        };
        let sequence = &mut self.sequences[row.slot];
        sequence.shorten_row(by_tokens, row.samples);
        row.tokens -= by_tokens;
        row.samples = false;
        draft.budget_tokens += by_tokens;
        let surplus = sequence.blocks.len() as u32 - self.kv.blocks_for(sequence.planned);
        let surplus = surplus.min(row.new_blocks);
        row.new_blocks -= surplus;
        let mut unused = sequence
            .blocks
            .split_off(sequence.blocks.len() - surplus as usize);
        self.kv.release(&mut unused);
    }

    /// Turns the draft into a plan in flight.
    fn seal(&mut self, draft: &mut Draft, now: Micros) -> Plan {
        let mut rows = Vec::with_capacity(draft.decodes.len() + draft.chunks.len());
        rows.append(&mut draft.decodes);
        // A chunk that the budget cut to one token is a row of one token like any other.
        rows.extend(draft.chunks.iter().filter(|row| row.tokens == 1));
        rows.extend(draft.chunks.iter().filter(|row| row.tokens != 1));
        let mut plan = Plan {
            step: self.next_step,
            drop: std::mem::take(&mut self.drops),
            admitted: draft.admitted.iter().map(|slot| self.admission(*slot)).collect(),
            rows: rows.iter().map(wire_row).collect(),
            new_blocks: Vec::new(),
            num_tokens: draft.num_tokens(),
        };
        for row in rows.iter().filter(|row| row.new_blocks > 0) {
            let table = &self.sequences[row.slot].blocks;
            plan.new_blocks
                .extend_from_slice(&table[table.len() - row.new_blocks as usize..]);
        }
        self.next_step.0 += 1;
        let num_tokens = plan.num_tokens;
        self.in_flight.push_back(Flight {
            step: plan.step,
            planned: now,
            num_tokens,
            rows,
        });
        plan
    }

    /// Its first row is in the same plan and adds to the cached blocks it has here.
    fn admission(&self, slot: Slot) -> Admission {
        let sequence = &self.sequences[slot];
        let cached = sequence.cached_blocks;
        Admission {
            request: sequence.request,
            sequence: sequence.id,
            tokens: sequence.tokens.clone(),
            num_prompt_tokens: sequence.num_prompt_tokens,
            num_cached_tokens: cached * self.config.block_size,
            blocks: sequence.blocks[..cached as usize].to_vec(),
        }
    }
}

fn wire_row(row: &FlightRow) -> Row {
    Row {
        sequence: row.sequence,
        num_tokens: row.tokens,
        new_blocks: row.new_blocks,
    }
}
