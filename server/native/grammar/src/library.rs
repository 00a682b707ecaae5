//! Compiled grammars, each compiled once, as many as bounds allow.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::compile::{Compiler, Refusal};
use crate::limits::Limits;
use crate::queue::{Job, Workers};
use crate::source::Source;
use crate::template::Template;

/// What becomes of a compilation.
pub(crate) type Compiled = Result<Arc<Template>, Refusal>;

/// Who is told.
pub(crate) type Waiter = Box<dyn FnOnce(Compiled) + Send>;

/// Whether a compilation may be refused for want of room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// Somebody asks before a sequence is sent.
    MayWait,
    /// A sequence is there.
    Needed,
}

/// See the module.
pub(crate) struct Library {
    compiler: Compiler,
    workers: Workers,
    limits: Limits,
    shelf: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    entries: HashMap<Source, Entry>,
    /// Counts uses.
    clock: u64,
    bytes: usize,
}

enum Entry {
    Compiling(Vec<Waiter>),
    Done {
        compiled: Compiled,
        used: u64,
        bytes: usize,
    },
}

impl Library {
    pub(crate) fn new(compiler: Compiler, workers: Workers, limits: Limits) -> Self {
        Self {
            compiler,
            workers,
            limits,
            shelf: Mutex::default(),
        }
    }

    /// The shelf is whole whenever the lock is free.
    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells `waiter` at once what is known, or when it is.
    pub(crate) fn get(self: &Arc<Self>, source: Source, urgency: Urgency, waiter: Waiter) {
        let mut shelf = self.lock();
        shelf.clock += 1;
        let now = shelf.clock;
        match shelf.entries.get_mut(&source) {
            Some(Entry::Done { compiled, used, .. }) => {
                *used = now;
                let compiled = compiled.clone();
                drop(shelf);
                waiter(compiled);
            }
            Some(Entry::Compiling(waiters)) => waiters.push(waiter),
            None => {
                shelf
                    .entries
                    .insert(source.clone(), Entry::Compiling(vec![waiter]));
                drop(shelf);
                self.begin(source, urgency);
            }
        }
    }

    fn begin(self: &Arc<Self>, source: Source, urgency: Urgency) {
        let (library, wanted) = (self.clone(), source.clone());
        let job: Job = Box::new(move || {
            let compiled = library.compiler.compile(&wanted);
            let template = |matcher| Arc::new(Template::new(matcher, library.limits.lanes));
            library.finish(wanted, compiled.map(template));
        });
        match urgency {
            Urgency::Needed => self.workers.push(job),
            Urgency::MayWait => {
                if self.workers.try_push(job).is_err() {
                    let waiters = match self.lock().entries.remove(&source) {
                        Some(Entry::Compiling(waiters)) => waiters,
                        _ => Vec::new(),
                    };
                    waiters.into_iter().for_each(|waiter| waiter(Err(Refusal::Busy)));
                }
            }
        }
    }

    fn finish(&self, source: Source, compiled: Compiled) {
        let mut shelf = self.lock();
        let used = shelf.clock;
        let bytes = estimate(&source, &compiled);
        shelf.bytes += bytes;
        let done = Entry::Done {
            bytes,
            compiled: compiled.clone(),
            used,
        };
        let waiters = match shelf.entries.insert(source, done) {
            Some(Entry::Compiling(waiters)) => waiters,
            _ => Vec::new(),
        };
        let removed = shelf.shrink(self.limits.cached_grammars, self.limits.cached_bytes);
        drop(shelf);
        // Large grammars take a while to free: nobody waits for that.
        drop(removed);
        waiters.into_iter().for_each(|waiter| waiter(compiled.clone()));
    }

    /// Grammars that are kept, and bytes they take by estimate.
    pub(crate) fn size(&self) -> (usize, usize) {
        let shelf = self.lock();
        (shelf.entries.len(), shelf.bytes)
    }

    pub(crate) fn close(&self) {
        self.workers.close();
    }
}

/// Bytes of an entry: the engine does not tell, these are what measurements gave.
fn estimate(source: &Source, compiled: &Compiled) -> usize {
    const BYTES_A_GRAMMAR: usize = 256 << 10;
    const BYTES_A_SOURCE_BYTE: usize = 160;
    match compiled {
        Ok(_) => BYTES_A_GRAMMAR + BYTES_A_SOURCE_BYTE * source.text().len(),
        Err(_) => source.text().len(),
    }
}

impl Shelf {
    /// Removes what was not used for longest until both bounds hold.
    fn shrink(&mut self, most_entries: usize, most_bytes: usize) -> Vec<Entry> {
        let mut removed = Vec::new();
        while self.entries.len() > most_entries || self.bytes > most_bytes {
            let done = self.entries.iter().filter_map(|(source, entry)| match entry {
                Entry::Done { used, .. } => Some((*used, source)),
                Entry::Compiling(_) => None,
            });
            let Some(oldest) = done
                .min_by_key(|(used, _)| *used)
                .map(|(_, source)| source.clone())
            else {
                break;
            };
            if let Some(entry) = self.entries.remove(&oldest) {
                if let Entry::Done { bytes, .. } = &entry {
                    self.bytes -= bytes;
                }
                removed.push(entry);
            }
        }
        removed
    }
}
