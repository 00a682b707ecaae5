//! What must hold after every call, whatever was called. Costs time in proportion to sequences and
//! blocks: for tests, and for the server when it is idle.

use std::collections::HashMap;

use crate::error::InvariantViolation;
use crate::ids::BlockId;
use crate::scheduler::Scheduler;
use crate::sequence::{Phase, Sequence, Slot};

type Check = Result<(), InvariantViolation>;

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Check {
    if holds {
        Ok(())
    } else {
        Err(InvariantViolation(what()))
    }
}

impl Scheduler {
    /// Looks for contradictions in the whole state.
    ///
    /// # Errors
    /// The first one found, in a sentence.
    pub fn check_invariants(&self) -> Result<(), InvariantViolation> {
        self.check_blocks()?;
        self.check_shared_blocks()?;
        for (slot, sequence) in self.sequences.iter() {
            self.check_sequence(slot, sequence)?;
        }
        self.check_batch()?;
        self.check_flights()?;
        self.check_counts()
    }

    /// free + cached + in use = total, and no block in two roles.
    fn check_blocks(&self) -> Check {
        let total = self.kv.pool.num_blocks();
        let mut references = vec![0_u32; total as usize];
        for (_, sequence) in self.sequences.iter() {
            for block in &sequence.blocks {
                references[block.0 as usize] += 1;
            }
        }
        let mut roles = references
            .iter()
            .map(|count| u32::from(*count > 0))
            .collect::<Vec<_>>();
        let in_use: u32 = roles.iter().sum();
        for block in self.kv.pool.free_blocks() {
            roles[block.0 as usize] += 1;
            ensure(!self.kv.prefix.is_registered(*block), || {
                format!("free block {block} is cached")
            })?;
        }
        for block in self.kv.prefix.unreferenced() {
            roles[block.0 as usize] += 1;
            ensure(self.kv.prefix.is_registered(block), || {
                format!("block {block} is listed for nothing")
            })?;
        }
        for (index, count) in references.iter().enumerate() {
            let block = BlockId(index as u32);
            let counted = self.kv.pool.references(block);
            ensure(counted == *count, || {
                format!("block {block} has {count} holders, {counted} counted")
            })?;
            let role = roles[index];
            ensure(role == 1, || format!("block {block} has {role} roles"))?;
        }
        let counted = self.kv.pool.in_use();
        ensure(in_use == counted, || {
            format!("{in_use} blocks in use, {counted} counted")
        })?;
        let limit = self.kv.limit_blocks();
        ensure(in_use <= limit, || {
            format!("{in_use} blocks in use, {limit} allowed")
        })?;
        ensure(self.kv.prefix.is_consistent(), || {
            "prefix index contradicts itself".to_owned()
        })
    }

    /// A block in two tables is full, stands at the same place and holds the same tokens for both.
    fn check_shared_blocks(&self) -> Check {
        let block_size = self.config.block_size as usize;
        let mut holders: HashMap<BlockId, (usize, &Sequence)> = HashMap::new();
        for (_, sequence) in self.sequences.iter() {
            for (index, block) in sequence.blocks.iter().enumerate() {
                let Some((other_index, other)) = holders.insert(*block, (index, sequence)) else {
                    continue;
                };
                let end = (index + 1) * block_size;
                let tokens = sequence.tokens.get(..end);
                ensure(
                    index == other_index
                        && end <= sequence.computed as usize
                        && end <= other.computed as usize
                        && tokens.is_some()
                        && tokens == other.tokens.get(..end)
                        && sequence.cache_salt == other.cache_salt,
                    || {
                        format!(
                            "requests {} and {} share block {block}",
                            sequence.request, other.request
                        )
                    },
                )?;
            }
        }
        Ok(())
    }

    fn check_sequence(&self, slot: Slot, sequence: &Sequence) -> Check {
        let request = sequence.request;
        let known = self.by_request.get(&request) == Some(&slot);
        ensure(known == sequence.is_living(), || {
            format!("request {request}: living but not known")
        })?;
        let waits = sequence.phase == Phase::Waiting;
        ensure(self.queue.contains(slot) == waits, || {
            format!("request {request}: queued in error")
        })?;
        let held = sequence.blocks.len() as u32 * self.config.block_size;
        if waits {
            let blank = held == 0 && sequence.planned == 0 && sequence.in_flight == 0;
            ensure(blank, || format!("request {request} waits and holds blocks"))?;
            return ensure(sequence.len() < sequence.max_length, || {
                format!("request {request} cannot fit")
            });
        }
        let drains = sequence.is_draining();
        ensure(!drains || sequence.in_flight > 0, || {
            format!("request {request} drains nothing")
        })?;
        let ordered = sequence.computed <= sequence.planned && sequence.planned <= held;
        ensure(ordered, || {
            format!("request {request}: computed, planned and held contradict")
        })?;
        let ended = sequence.phase == Phase::Ended;
        ensure(ended || sequence.planned <= sequence.planned_len(), || {
            format!("request {request} runs ahead of its tokens")
        })?;
        ensure(ended || sequence.len() < sequence.max_length, || {
            format!("request {request} is too long")
        })?;
        let cached = sequence.cached_blocks * self.config.block_size;
        ensure(cached <= sequence.computed, || {
            format!("request {request}: cached before computed")
        })
    }

    /// Every running sequence stands in the batch exactly once, in order.
    fn check_batch(&self) -> Check {
        let current = self
            .running
            .iter()
            .filter(|entry| entry.is_current(&self.sequences[entry.slot]));
        let running = current.clone().count();
        let counted = self.num_running as usize;
        ensure(running == counted, || {
            format!("{running} in the batch, {counted} counted")
        })?;
        let ordered = self.running.is_sorted_by_key(|entry| entry.order());
        ensure(ordered, || "the batch is out of order".to_owned())
    }

    /// What sequences have in flight is what the plans in flight say.
    fn check_flights(&self) -> Check {
        let depth = self.config.overlap_depth as usize;
        ensure(self.in_flight.len() <= depth, || {
            format!("more than {depth} plans in flight")
        })?;
        let mut rows: HashMap<Slot, (u32, u32, u32)> = HashMap::new();
        let first = self.next_step.0 - self.in_flight.len() as u64;
        for (index, flight) in self.in_flight.iter().enumerate() {
            let expected = first + index as u64;
            ensure(flight.step.0 == expected, || {
                format!("step {} is out of order", flight.step)
            })?;
            let tokens: u32 = flight.rows.iter().map(|row| row.tokens).sum();
            let within = tokens == flight.num_tokens && tokens <= self.config.max_step_tokens;
            ensure(within, || format!("step {} runs {tokens} tokens", flight.step))?;
            for row in &flight.rows {
                let sequence = &self.sequences[row.slot];
                ensure(sequence.id == row.sequence, || {
                    format!("row of unknown {}", row.sequence)
                })?;
                let entry = rows.entry(row.slot).or_default();
                *entry = (
                    entry.0 + 1,
                    entry.1 + row.tokens,
                    entry.2 + u32::from(row.samples),
                );
            }
        }
        for (slot, sequence) in self.sequences.iter() {
            let planned = rows.get(&slot).copied().unwrap_or_default();
            let own = (
                sequence.in_flight,
                sequence.planned - sequence.computed,
                sequence.pending,
            );
            ensure(own == planned, || {
                format!(
                    "request {}: {own:?} in flight, plans say {planned:?}",
                    sequence.request
                )
            })?;
        }
        Ok(())
    }

    fn check_counts(&self) -> Check {
        let count = |phase: Phase| self.sequences.iter().filter(|(_, s)| s.phase == phase).count() as u32;
        let waiting = count(Phase::Waiting);
        ensure(self.queue.len() == waiting, || {
            format!("{waiting} wait, {} counted", self.queue.len())
        })?;
        ensure(self.queue.is_consistent(), || {
            "the queue contradicts itself".to_owned()
        })?;
        let running = count(Phase::Running);
        ensure(self.num_running == running, || {
            format!("{running} run, {} counted", self.num_running)
        })?;
        let draining: Vec<u32> = self
            .sequences
            .iter()
            .filter(|(_, sequence)| sequence.is_draining())
            .map(|(_, sequence)| sequence.blocks.len() as u32)
            .collect();
        let drained_right = self.num_draining as usize == draining.len()
            && self.draining_blocks == draining.iter().sum::<u32>();
        ensure(drained_right, || {
            "draining sequences are counted wrong".to_owned()
        })?;
        let held = running + draining.len() as u32;
        ensure(held <= self.config.max_running, || {
            format!("{held} sequences at the shards")
        })?;
        let tokens: u64 = self
            .sequences
            .iter()
            .filter(|(_, sequence)| sequence.phase == Phase::Waiting)
            .map(|(_, sequence)| u64::from(sequence.len()))
            .sum();
        ensure(self.waiting_tokens == tokens, || format!("{tokens} tokens wait"))?;
        let living = self
            .sequences
            .iter()
            .filter(|(_, sequence)| sequence.is_living())
            .count();
        ensure(self.by_request.len() == living, || {
            format!("{living} requests live")
        })?;
        ensure(self.tenants.living() == living as u64, || {
            "tenants are counted wrong".to_owned()
        })
    }
}
