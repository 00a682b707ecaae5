//! The way of one sequence's events from the actor to its consumer.
//!
//! A slow consumer neither blocks the actor nor loses a token: events wait in a buffer whose size
//! is bounded by the sequence itself (its tokens, and three events beside them). The lock is held
//! for a push or a pop, never across an await.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::engine::api::{Finish, GenerationEvent};

/// The buffer both sides share.
#[derive(Debug, Default)]
struct Outbox {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    events: VecDeque<GenerationEvent>,
    waker: Option<Waker>,
    /// The consumer is gone: events go nowhere.
    closed: bool,
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A push or a pop leaves nothing half done, so a poisoned lock still guards a good value.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The actor's side. Ends the stream when it is dropped without a `Finished`.
#[derive(Debug)]
pub(super) struct EventSender {
    outbox: Arc<Outbox>,
    finished: bool,
}

/// The consumer's side.
#[derive(Debug)]
pub(super) struct EventReceiver {
    outbox: Arc<Outbox>,
}

/// Both sides of a new, empty buffer.
pub(super) fn event_channel() -> (EventSender, EventReceiver) {
    let outbox = Arc::new(Outbox::default());
    (
        EventSender {
            outbox: outbox.clone(),
            finished: false,
        },
        EventReceiver { outbox },
    )
}

impl EventSender {
    /// Appends an event and hands out the waker of a consumer that waits, so that the caller wakes
    /// all consumers of a step after the last event of the step. Nothing follows a `Finished`.
    pub(super) fn push(&mut self, event: GenerationEvent) -> Option<Waker> {
        if self.finished {
            return None;
        }
        self.finished = matches!(event, GenerationEvent::Finished(_));
        let mut inner = self.outbox.lock();
        if inner.closed {
            return None;
        }
        inner.events.push_back(event);
        inner.waker.take()
    }
}

impl Drop for EventSender {
    fn drop(&mut self) {
        let cause = "the engine stopped".to_owned();
        if let Some(waker) = self.push(GenerationEvent::Finished(Finish::ShardLost { cause })) {
            waker.wake();
        }
    }
}

impl EventReceiver {
    /// The next event that waits already.
    pub(super) fn try_pop(&self) -> Option<GenerationEvent> {
        self.outbox.lock().events.pop_front()
    }

    /// The next event; `context` is woken when there is one.
    pub(super) fn poll_pop(&self, context: &Context<'_>) -> Poll<GenerationEvent> {
        let mut inner = self.outbox.lock();
        if let Some(event) = inner.events.pop_front() {
            return Poll::Ready(event);
        }
        if !inner
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(context.waker()))
        {
            inner.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for EventReceiver {
    fn drop(&mut self) {
        let mut inner = self.outbox.lock();
        inner.closed = true;
        inner.events = VecDeque::new();
        inner.waker = None;
    }
}
