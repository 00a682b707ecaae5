//! What a test may look at, and where it may hold a shard.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

/// Counters of a shard's life, over all its sessions.
#[derive(Debug, Default)]
pub struct Journal {
    /// Sessions opened.
    pub sessions: AtomicU64,
    /// Steps that arrived.
    pub arrived: AtomicU64,
    /// Steps that were answered.
    pub answered: AtomicU64,
    /// Steps that arrived before the step before them was answered.
    pub overlapped: AtomicU64,
    /// Tokens run.
    pub tokens: AtomicU64,
    /// Tokens sampled.
    pub sampled: AtomicU64,
    /// Grammars that were to be compiled.
    pub grammars: AtomicU64,
    /// Leading tokens of new sequences that were taken from cached blocks.
    pub cached_tokens: AtomicU64,
    /// Blocks in use after the last step.
    pub blocks_in_use: AtomicU64,
    /// Living sequences after the last step.
    pub sequences: AtomicU64,
}

impl Journal {
    /// Reads a counter.
    #[must_use]
    pub fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::SeqCst)
    }

    pub(crate) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::SeqCst);
    }

    pub(crate) fn set(counter: &AtomicU64, value: u64) {
        counter.store(value, Ordering::SeqCst);
    }
}

/// Holds answers back until a test lets them go. Open unless it is closed.
#[derive(Debug, Default)]
pub struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    closed: bool,
    permits: u64,
    shutdown: bool,
}

impl Gate {
    /// From now on an answer needs a permit.
    pub fn close(&self) {
        self.with(|state| state.closed = true);
    }

    /// Lets this many answers go.
    pub fn permit(&self, answers: u64) {
        self.with(|state| state.permits += answers);
    }

    /// Lets all answers go.
    pub fn open(&self) {
        self.with(|state| state.closed = false);
    }

    pub(crate) fn shut_down(&self) {
        self.with(|state| state.shutdown = true);
    }

    fn with(&self, change: impl FnOnce(&mut GateState)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    /// Blocks until an answer may go; `false` when the shard ends.
    pub(crate) fn pass(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if state.shutdown {
                return false;
            }
            if !state.closed {
                return true;
            }
            if state.permits > 0 {
                state.permits -= 1;
                return true;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
