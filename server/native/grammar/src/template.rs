//! A compiled grammar, and the sequences that follow it side by side.
//!
//! What a lexer learns on the way (its automaton's states) holds for every sequence of the grammar, and
//! learning costs most of a mask. So sequences share lexers: each sits in one of a few lanes, and those
//! of a lane work one after the other. A lexer has a bound on its states that one sequence could use
//! up; then the lane takes no new ones, and those in it go on alone.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use llguidance::Matcher;
use llguidance::toktrie::SimpleVob;

/// See the module.
pub(crate) struct Template {
    /// At the beginning, and with a lexer that nobody follows.
    fresh: Mutex<Matcher>,
    lanes: Box<[Mutex<Weak<Lane>>]>,
    next: AtomicUsize,
}

/// Sequences with one lexer; it lives as long as any of them.
struct Lane {
    /// At the beginning; its copies share its lexer.
    matcher: Mutex<Matcher>,
    spoilt: AtomicBool,
}

/// A matcher is whole whenever the lock is free.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Template {
    /// `lanes`: sequences that can be worked on at the same time.
    pub(crate) fn new(matcher: Matcher, lanes: usize) -> Self {
        Self {
            fresh: Mutex::new(matcher),
            lanes: (0..lanes.max(1)).map(|_| Mutex::default()).collect(),
            next: AtomicUsize::new(0),
        }
    }

    /// A matcher with a lexer of its own.
    fn alone(&self) -> Matcher {
        lock(&self.fresh).deep_clone()
    }

    fn lane(&self) -> Arc<Lane> {
        let index = self.next.fetch_add(1, Ordering::Relaxed) % self.lanes.len();
        let mut place = lock(&self.lanes[index]);
        match place.upgrade() {
            Some(lane) if !lane.spoilt.load(Ordering::Relaxed) => lane,
            _ => {
                let lane = Arc::new(Lane {
                    matcher: Mutex::new(self.alone()),
                    spoilt: AtomicBool::new(false),
                });
                *place = Arc::downgrade(&lane);
                lane
            }
        }
    }
}

/// One sequence's walk through its grammar.
pub(crate) struct Walk {
    template: Arc<Template>,
    matcher: Matcher,
    shared: Option<Shared>,
}

struct Shared {
    lane: Arc<Lane>,
    /// Tokens consumed, to walk them again alone.
    tokens: Vec<u32>,
}

impl Walk {
    /// At the beginning.
    pub(crate) fn new(template: Arc<Template>) -> Self {
        let lane = template.lane();
        let matcher = lock(&lane.matcher).clone();
        let tokens = Vec::new();
        Self {
            template,
            matcher,
            shared: Some(Shared { lane, tokens }),
        }
    }

    /// Consumes tokens; gives those that may come then, or none when they cannot be told.
    pub(crate) fn follow(&mut self, tokens: &[u32]) -> Option<SimpleVob> {
        let allowed = advance(&mut self.matcher, tokens);
        match &mut self.shared {
            Some(shared) if allowed.is_some() => {
                shared.tokens.extend_from_slice(tokens);
                allowed
            }
            Some(_) => self.leave(tokens),
            None => allowed,
        }
    }

    /// The lane's lexer does not serve any more; one of its own may.
    fn leave(&mut self, tokens: &[u32]) -> Option<SimpleVob> {
        let mut walked = Vec::new();
        if let Some(shared) = self.shared.take() {
            shared.lane.spoilt.store(true, Ordering::Relaxed);
            walked = shared.tokens;
        }
        walked.extend_from_slice(tokens);
        self.matcher = self.template.alone();
        advance(&mut self.matcher, &walked)
    }
}

fn advance(matcher: &mut Matcher, tokens: &[u32]) -> Option<SimpleVob> {
    for token in tokens {
        // A step sent before the end was known brings a token more, which is discarded.
        if matcher.is_stopped() && !matcher.is_error() {
            break;
        }
        matcher.consume_token(*token).ok()?;
    }
    matcher.compute_mask_or_eos().ok()
}
