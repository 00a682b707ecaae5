//! Where text is tokenised: a few threads, never those that serve connections.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::http::error::ApiError;

/// A bound on how much runs at once. Who waits for a turn and goes away gives the turn up.
#[derive(Debug)]
pub struct Workers {
    turns: Arc<Semaphore>,
}

impl Workers {
    /// At most `count` at once, at least one.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(count.max(1))),
        }
    }

    /// Runs `work` when it is its turn.
    ///
    /// # Errors
    /// `Internal` when the work panicked or the server ends.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let internal = |cause: &str| ApiError::Internal {
            cause: cause.to_owned(),
        };
        let turn = self
            .turns
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| internal("the server ends"))?;
        let task = tokio::task::spawn_blocking(move || {
            let done = work();
            // Held by the work itself: a client that goes away does not make room for more of it.
            drop(turn);
            done
        });
        task.await
            .map_err(|_| internal("this text could not be tokenised"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_panics_fails_alone() {
        let workers = Workers::new(1);
        let failed = workers.run(|| -> u32 { panic!("on purpose") }).await;
        assert!(matches!(failed, Err(ApiError::Internal { .. })));
        assert_eq!(workers.run(|| 7).await, Ok(7));
    }
}
