//! One sequence's place in its grammar.
//!
//! ## Compiling → Following | Failed, Following → Failed
//! A token that comes is noted at once and consumed by whichever thread works next; the mask of the
//! token after it is there before it is asked for, as a rule.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::compile::Refusal;
use crate::mask::Mask;
use crate::template::{Template, Walk};

/// A grammar that has taken this long and whose masks take more than `MASK_SHARE` on average ends
/// its sequence: the others would wait for it at every step.
const PATIENCE: Duration = Duration::from_secs(1);
const MASK_SHARE: Duration = Duration::from_millis(5);

/// What masks are made for.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) vocab_size: u32,
    pub(crate) ends: Arc<[u32]>,
}

/// See the module.
pub(crate) struct Follower {
    state: Mutex<State>,
    changed: Condvar,
    frame: Frame,
}

struct State {
    stage: Stage,
    /// Sampled tokens that are not consumed yet.
    pending: VecDeque<u32>,
    /// Tokens consumed.
    generated: u32,
    /// Of the token after those.
    mask: Option<Arc<Mask>>,
    /// Whether a thread works on it or will.
    scheduled: bool,
    spent: Duration,
}

enum Stage {
    Compiling,
    Compiled(Arc<Template>),
    Following(Box<Walk>),
    /// A thread has taken it to work on it.
    Taken,
    Failed,
}

/// Where a sequence stands.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// The mask is there.
    Ready(Arc<Mask>),
    /// Somebody has to work, or works.
    Waiting,
    /// It ends.
    Failed,
}

impl Follower {
    /// `generated`: tokens to consume first, after a preemption or replay.
    pub(crate) fn new(generated: Vec<u32>, frame: Frame) -> Self {
        Self {
            state: Mutex::new(State {
                stage: Stage::Compiling,
                pending: generated.into(),
                generated: 0,
                mask: None,
                scheduled: false,
                spent: Duration::ZERO,
            }),
            changed: Condvar::new(),
            frame,
        }
    }

    /// The state is whole whenever the lock is free; the engine works outside of it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The grammar is compiled, or will not be. Whether a thread is to work on it.
    pub(crate) fn begin(&self, compiled: Result<Arc<Template>, Refusal>) -> bool {
        let mut state = self.lock();
        state.stage = match compiled {
            Ok(template) => Stage::Compiled(template),
            Err(_) => Stage::Failed,
        };
        self.changed.notify_all();
        state.schedule()
    }

    /// A token was sampled. Whether a thread is to work on it.
    pub(crate) fn push(&self, token: u32) -> bool {
        let mut state = self.lock();
        if matches!(state.stage, Stage::Failed) {
            return false;
        }
        state.pending.push_back(token);
        state.mask = None;
        state.schedule()
    }

    /// Nothing will be worked on any more.
    pub(crate) fn fail(&self) {
        self.lock().stage = Stage::Failed;
        self.changed.notify_all();
    }

    /// Consumes what waits and computes the mask after it.
    pub(crate) fn work(&self) {
        loop {
            let mut state = self.lock();
            let walk = match std::mem::replace(&mut state.stage, Stage::Taken) {
                Stage::Compiled(template) => Err(template),
                Stage::Following(walk) => Ok(walk),
                other => {
                    state.stage = other;
                    state.scheduled = false;
                    return;
                }
            };
            let tokens = Vec::from(std::mem::take(&mut state.pending));
            drop(state);
            let began = Instant::now();
            let mut walk = walk.unwrap_or_else(|template| Box::new(Walk::new(template)));
            let mask = walk
                .follow(&tokens)
                .map(|allowed| Mask::new(&allowed, self.frame.vocab_size, &self.frame.ends));
            if self.put_back(walk, mask, tokens.len(), began.elapsed()) {
                return;
            }
        }
    }

    /// Whether there is nothing more to do.
    fn put_back(&self, walk: Box<Walk>, mask: Option<Mask>, tokens: usize, took: Duration) -> bool {
        let mut state = self.lock();
        state.generated = state.generated.saturating_add(tokens as u32);
        state.spent += took;
        let too_slow = state.spent > PATIENCE && state.spent > MASK_SHARE * (state.generated + 1);
        match mask {
            Some(mask) if !too_slow && !matches!(state.stage, Stage::Failed) => {
                state.mask = Some(Arc::new(mask));
                state.stage = Stage::Following(walk);
            }
            _ => state.stage = Stage::Failed,
        }
        let done = state.pending.is_empty() || matches!(state.stage, Stage::Failed);
        if done {
            state.scheduled = false;
        } else {
            state.mask = None;
        }
        drop(state);
        self.changed.notify_all();
        done
    }

    /// The mask of the token after `generated` ones.
    pub(crate) fn place(&self, generated: u32) -> Place {
        self.lock().place(generated)
    }

    /// Waits for a change, at most for `limit`.
    pub(crate) fn wait(&self, generated: u32, limit: Duration) -> Place {
        let state = self.lock();
        let waits = |state: &mut State| matches!(state.place(generated), Place::Waiting);
        let waited = self.changed.wait_timeout_while(state, limit, waits);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.place(generated)
    }
}

impl State {
    fn schedule(&mut self) -> bool {
        let idle = matches!(self.stage, Stage::Compiled(_) | Stage::Following(_));
        idle && !std::mem::replace(&mut self.scheduled, true)
    }

    fn place(&self, generated: u32) -> Place {
        match (&self.stage, &self.mask) {
            (Stage::Failed, _) => Place::Failed,
            (_, Some(mask)) if self.pending.is_empty() && self.generated == generated => {
                Place::Ready(mask.clone())
            }
            _ if self.generated > generated => Place::Failed,
            _ => Place::Waiting,
        }
    }
}
