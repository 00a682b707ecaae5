//! Sequences whose consumer went away.

use std::sync::{Mutex, MutexGuard, PoisonError};

use shardline_scheduler::RequestId;
use tokio::sync::Notify;

/// Filled by consumers, emptied by the actor. A consumer that is dropped cannot wait for room in a
/// queue; this list needs none, as every living sequence is in it at most once.
#[derive(Debug, Default)]
pub(super) struct Cancellations {
    requests: Mutex<Vec<RequestId>>,
    wake: Notify,
}

impl Cancellations {
    fn lock(&self) -> MutexGuard<'_, Vec<RequestId>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the actor to cancel.
    pub(super) fn request(&self, request: RequestId) {
        self.lock().push(request);
        self.wake.notify_one();
    }

    /// Moves what was asked for since the last call into `into`.
    pub(super) fn take(&self, into: &mut Vec<RequestId>) {
        into.append(&mut self.lock());
    }

    /// Returns once something was asked for since the last `take`; it may return early.
    pub(super) async fn requested(&self) {
        self.wake.notified().await;
    }
}
