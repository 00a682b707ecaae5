//! All grammars of a shard: compiled ones, and the sequences that follow them.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::compile::{Compiler, Refusal};
use crate::follower::{Follower, Frame, Place};
use crate::library::{Library, Urgency};
use crate::limits::Limits;
use crate::mask::{Mask, MaskRows, RowState};
use crate::queue::{WorkerOptions, Workers};
use crate::source::Source;
use crate::vocabulary::Vocabulary;

/// A sequence that follows a grammar; never used twice.
pub type Handle = u64;

/// A step waits so long for one row's mask. Bounds on the work make it impossible to need it.
const MOST_WAIT: Duration = Duration::from_secs(10);
/// The engine's mask computation does not recurse deeply.
const MASK_STACK_BYTES: usize = 8 << 20;

/// Why grammars cannot be followed at all.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The vocabulary does not serve.
    #[error("the vocabulary cannot be used: {0}")]
    Vocabulary(#[from] Refusal),
    /// No threads.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
}

/// See the module.
pub struct Grammars {
    library: Arc<Library>,
    masks: Arc<Workers>,
    frame: Frame,
    sequences: Mutex<Sequences>,
}

#[derive(Default)]
struct Sequences {
    last: Handle,
    living: HashMap<Handle, Arc<Follower>>,
}

impl std::fmt::Debug for Grammars {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Grammars")
            .field("kept", &self.library.size())
            .field("sequences", &self.lock().living.len())
            .finish_non_exhaustive()
    }
}

impl Grammars {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the vocabulary does not serve or there are no threads.
    pub fn start(vocabulary: &Vocabulary, limits: Limits) -> Result<Self, StartError> {
        let compiler = Compiler::new(vocabulary, limits)?;
        let compiling = Workers::start(&WorkerOptions {
            name: "grammar-compile",
            threads: limits.compile_threads,
            stack_bytes: limits.compile_stack_bytes,
            capacity: limits.waiting_compilations,
        })?;
        let masks = Workers::start(&WorkerOptions {
            name: "grammar-mask",
            threads: limits.mask_threads,
            stack_bytes: MASK_STACK_BYTES,
            capacity: usize::MAX,
        })?;
        Ok(Self {
            library: Arc::new(Library::new(compiler, compiling, limits)),
            masks: Arc::new(masks),
            frame: Frame {
                vocab_size: vocabulary.vocab_size(),
                ends: vocabulary.ends().into(),
            },
            sequences: Mutex::default(),
        })
    }

    /// The registry is whole whenever the lock is free.
    fn lock(&self) -> MutexGuard<'_, Sequences> {
        self.sequences.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Words of a mask's row.
    #[must_use]
    pub fn mask_words(&self) -> usize {
        self.frame.vocab_size.div_ceil(32) as usize
    }

    /// Compiles a grammar for sequences to come and tells how it went, from another thread.
    pub fn compile(&self, source: Source, told: impl FnOnce(Result<(), Refusal>) + Send + 'static) {
        let waiter = Box::new(|compiled: Result<_, _>| told(compiled.map(|_| ())));
        self.library.get(source, Urgency::MayWait, waiter);
    }

    /// A sequence begins, after the tokens it has `generated` before.
    pub fn admit(&self, source: Source, generated: Vec<u32>) -> Handle {
        let follower = Arc::new(Follower::new(generated, self.frame.clone()));
        let mut sequences = self.lock();
        sequences.last += 1;
        let handle = sequences.last;
        sequences.living.insert(handle, follower.clone());
        drop(sequences);
        let masks = self.masks.clone();
        let waiter = Box::new(move |compiled| {
            if follower.begin(compiled) {
                masks.push(Box::new(move || follower.work()));
            }
        });
        self.library.get(source, Urgency::Needed, waiter);
        handle
    }

    /// A sequence is gone. One that is not known is gone already.
    pub fn release(&self, handle: Handle) {
        self.lock().living.remove(&handle);
    }

    /// Tokens were sampled, one a sequence: their masks are begun. Sequences that are gone are passed.
    pub fn advance(&self, tokens: impl IntoIterator<Item = (Handle, u32)>) {
        let sequences = self.lock();
        for (handle, token) in tokens {
            if let Some(follower) = sequences.living.get(&handle)
                && follower.push(token)
            {
                let follower = follower.clone();
                self.masks.push(Box::new(move || follower.work()));
            }
        }
    }

    /// Waits for the masks of sequences that have generated so many tokens, and writes them a row each.
    pub fn fill(&self, wanted: &[(Handle, u32)], mut out: MaskRows<'_>) -> Vec<RowState> {
        let followers: Vec<_> = {
            let sequences = self.lock();
            let find = |(handle, _): &(Handle, u32)| sequences.living.get(handle).cloned();
            wanted.iter().map(find).collect()
        };
        let mut states = Vec::with_capacity(wanted.len());
        for (row, (follower, (_, generated))) in followers.iter().zip(wanted).enumerate() {
            let mask = follower
                .as_ref()
                .and_then(|follower| self.mask(follower, *generated));
            states.push(match &mask {
                None => RowState::Failed,
                Some(mask) if mask.complete => RowState::Complete,
                Some(_) => RowState::Open,
            });
            out.put(row, mask.as_deref());
        }
        states
    }

    /// Works on whatever waits until the mask is there.
    fn mask(&self, follower: &Follower, generated: u32) -> Option<Arc<Mask>> {
        loop {
            match follower.place(generated) {
                Place::Ready(mask) => return Some(mask),
                Place::Failed => return None,
                Place::Waiting => {}
            }
            let Some(job) = self.masks.take() else { break };
            job();
        }
        match follower.wait(generated, MOST_WAIT) {
            Place::Ready(mask) => Some(mask),
            Place::Failed => None,
            Place::Waiting => {
                follower.fail();
                None
            }
        }
    }

    /// Forgets all sequences.
    pub fn reset(&self) {
        self.lock().living.clear();
    }

    /// Grammars that are kept, and bytes they take by estimate.
    #[must_use]
    pub fn kept(&self) -> (usize, usize) {
        self.library.size()
    }

    /// Ends the threads; whoever waits for a mask is told that there is none.
    pub fn close(&self) {
        for follower in self.lock().living.values() {
            follower.fail();
        }
        self.library.close();
        self.masks.close();
    }
}

impl Drop for Grammars {
    fn drop(&mut self) {
        self.close();
    }
}
