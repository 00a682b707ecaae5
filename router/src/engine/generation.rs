//! The consumer's end of one sequence.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use shardline_scheduler::RequestId;

use crate::engine::api::GenerationEvent;
use crate::engine::cancel::Cancellations;
use crate::engine::outbox::EventReceiver;

/// The events of one sequence, in order; `GenerationEvent::Finished` is the last.
///
/// Dropping it before its end cancels the sequence: its KV blocks are free within one step. It is
/// not `Clone`, so a sequence has one consumer.
#[derive(Debug)]
pub struct Generation {
    events: EventReceiver,
    request: RequestId,
    cancellations: Arc<Cancellations>,
    ended: bool,
}

impl Generation {
    pub(super) fn new(events: EventReceiver, request: RequestId, cancellations: Arc<Cancellations>) -> Self {
        Self {
            events,
            request,
            cancellations,
            ended: false,
        }
    }

    /// The next event; `None` after `Finished`.
    pub async fn next(&mut self) -> Option<GenerationEvent> {
        poll_fn(|context| self.poll_event(context)).await
    }

    /// The next event if it is there already, so that tokens that wait can share one write.
    pub fn try_next(&mut self) -> Option<GenerationEvent> {
        let event = self.events.try_pop()?;
        Some(self.note(event))
    }

    fn poll_event(&mut self, context: &Context<'_>) -> Poll<Option<GenerationEvent>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.events.poll_pop(context).map(|event| Some(self.note(event)))
    }

    fn note(&mut self, event: GenerationEvent) -> GenerationEvent {
        self.ended |= matches!(event, GenerationEvent::Finished(_));
        event
    }
}

impl Stream for Generation {
    type Item = GenerationEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<GenerationEvent>> {
        self.poll_event(context)
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        if !self.ended {
            self.cancellations.request(self.request);
        }
    }
}
