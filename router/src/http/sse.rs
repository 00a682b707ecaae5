//! Server-sent events straight from a session: no task and no queue between the engine's events
//! and the connection. Each token is an event; events that wait together share one write.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep};

use crate::http::error::ApiError;
use crate::http::problem::Dialect;
use crate::http::running::Running;
use crate::http::timing;
use crate::session::{ChoiceEvent, End};

/// How often a connection on which nothing happens is shown that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// What shows it: a comment, which clients leave out.
const COMMENT: &[u8] = b":\n\n";
/// A batch of events beyond this is sent although more wait.
const BATCH_BYTES: usize = 16 * 1024;

/// How a route spells its events. Each method appends whole events, each with its empty line.
pub trait Spelling: Send + Unpin + 'static {
    /// Before all tokens.
    fn begin(&mut self, out: &mut BytesMut, running: &Running);
    /// A token, or the end of a choice that did not fail.
    fn event(&mut self, out: &mut BytesMut, running: &Running, choice: usize, event: ChoiceEvent);
    /// After all choices.
    fn end(&mut self, out: &mut BytesMut, running: &Running);
    /// Instead of everything that would have followed.
    fn failed(&mut self, out: &mut BytesMut, error: &ApiError);
}

/// Appends an event that holds an error.
pub fn put_error(out: &mut BytesMut, error: &ApiError, dialect: Dialect) {
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(&error.problem().json(dialect));
    out.extend_from_slice(b"\n\n");
}

/// A body of events. Dropping it cancels what still runs.
pub struct EventBody<S> {
    /// `None` once the last event is written.
    running: Option<Running>,
    spelling: S,
    out: BytesMut,
    keep_alive: Pin<Box<Sleep>>,
    last_write: Instant,
}

impl<S: Spelling> EventBody<S> {
    /// Waits for the first token, so that whatever goes wrong before it has its own status.
    ///
    /// # Errors
    /// What went wrong before the first token.
    pub async fn open(running: Running, spelling: S) -> Result<Self, ApiError> {
        let now = Instant::now();
        let mut body = Self {
            running: Some(running),
            spelling,
            out: BytesMut::new(),
            keep_alive: Box::pin(tokio::time::sleep_until(now + KEEP_ALIVE)),
            last_write: now,
        };
        poll_fn(|context| body.poll_first(context)).await?;
        Ok(body)
    }

    /// What the first token has cost.
    #[must_use]
    pub fn begun(&self) -> HeaderMap {
        self.running.as_ref().map(timing::begun).unwrap_or_default()
    }

    fn poll_first(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ApiError>> {
        loop {
            let Some(running) = &mut self.running else {
                return Poll::Ready(Ok(()));
            };
            match running.poll_event(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some((_, ChoiceEvent::Started { .. }))) => {}
                Poll::Ready(Some((
                    _,
                    ChoiceEvent::Finished {
                        end: End::Failed(finish),
                        ..
                    },
                ))) => {
                    let error = running.fail(&finish);
                    self.running = None;
                    return Poll::Ready(Err(error));
                }
                Poll::Ready(Some((choice, event))) => {
                    self.spelling.begin(&mut self.out, running);
                    self.spelling.event(&mut self.out, running, choice, event);
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(None) => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Writes the events that are there.
    fn poll_events(&mut self, context: &mut Context<'_>) {
        while self.out.len() < BATCH_BYTES {
            let Some(running) = &mut self.running else { return };
            match running.poll_event(context) {
                Poll::Pending => return,
                Poll::Ready(Some((_, ChoiceEvent::Started { .. }))) => {}
                Poll::Ready(Some((
                    _,
                    ChoiceEvent::Finished {
                        end: End::Failed(finish),
                        ..
                    },
                ))) => {
                    let error = running.fail(&finish);
                    self.spelling.failed(&mut self.out, &error);
                    self.running = None;
                }
                Poll::Ready(Some((choice, event))) => {
                    self.spelling.event(&mut self.out, running, choice, event);
                }
                Poll::Ready(None) => {
                    self.spelling.end(&mut self.out, running);
                    self.running = None;
                }
            }
        }
    }

    /// Writes a comment when nothing was sent for a while. The timer is not moved for each write:
    /// it looks, when it rings, how long the last one is ago.
    fn poll_keep_alive(&mut self, context: &mut Context<'_>) {
        while self.keep_alive.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            let due = self.last_write + KEEP_ALIVE;
            let next = if due <= now {
                self.out.extend_from_slice(COMMENT);
                self.last_write = now;
                now + KEEP_ALIVE
            } else {
                due
            };
            self.keep_alive.as_mut().reset(next);
        }
    }
}

impl<S: Spelling> Body for EventBody<S> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let body = self.get_mut();
        body.poll_events(context);
        if body.out.is_empty() {
            if body.running.is_none() {
                return Poll::Ready(None);
            }
            body.poll_keep_alive(context);
            if body.out.is_empty() {
                return Poll::Pending;
            }
        } else {
            body.last_write = Instant::now();
        }
        Poll::Ready(Some(Ok(Frame::data(body.out.split().freeze()))))
    }

    fn is_end_stream(&self) -> bool {
        self.running.is_none() && self.out.is_empty()
    }
}
