//! The router and its shards: told things together, ended in order.

use std::path::Path;
use std::pin::pin;
use std::process::ExitStatus;
use std::time::Duration;

use futures_util::future::{join_all, select_all};
use nix::sys::signal::Signal;

use crate::console::Console;
use crate::control::{Message, bounded};
use crate::ends::{Ended, Failure};
use crate::plan::ProcessSpec;
use crate::process::{CannotStart, Process, STOP_PATIENCE, describe_end};
use crate::signals::Signals;

/// The processes of a server.
#[derive(Debug)]
pub struct Group {
    router: Process,
    shards: Vec<Process>,
    /// Which group of shards it is: 1, and one more each time it is replaced.
    number: u64,
}

/// How long shards that are replaced get to say what went wrong: one that waits for a dead one would
/// wait for ever.
const LAST_WORDS_PATIENCE: Duration = Duration::from_secs(1);

/// Why the wait for the router to finish is over.
enum Finish {
    Done(ExitStatus),
    ShardLost(usize, ExitStatus),
    TimeIsUp,
    Interrupted,
}

impl Group {
    /// Starts the router.
    pub fn start(router: &ProcessSpec, console: &Console) -> Result<Self, CannotStart> {
        Ok(Self {
            router: Process::start(router, console)?,
            shards: Vec::new(),
            number: 1,
        })
    }

    /// Starts a shard.
    pub fn add(&mut self, shard: &ProcessSpec, console: &Console) -> Result<(), CannotStart> {
        self.shards.push(Process::start(shard, console)?);
        Ok(())
    }

    /// Tells the router what is going on while there is no model.
    pub fn tell_phase(&mut self, phase: &str, message: &str) {
        // A router that is behind misses one of many; one that is gone is noticed by its exit.
        let _ = self.router.send(&Message::Phase {
            phase,
            message: bounded(message),
        });
    }

    /// Tells the router where the model is.
    pub fn tell_model_path(&mut self, model_path: &Path) {
        if let Err(error) = self.router.send(&Message::ModelPath { model_path }) {
            tracing::error!("the router does not listen to its control pipe: {error}");
        }
    }

    /// Which group of shards runs.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Ends the shards alone; those that are added next are another group.
    pub async fn end_shards(&mut self) {
        self.stop_shards(LAST_WORDS_PATIENCE).await;
        self.shards.clear();
        self.number += 1;
    }

    /// Tells the router that its shards are dead and that it is to wait for new ones.
    pub fn tell_replaced(&mut self, cause: &str) {
        let message = Message::Replaced {
            replaced: self.number,
            cause: bounded(cause),
        };
        if let Err(error) = self.router.send(&message) {
            tracing::error!("the router does not listen to its control pipe: {error}");
        }
    }

    /// Waits for the first child to end: 0 is the router, then the shards. May be dropped and called again.
    pub async fn first_exit(&mut self) -> (usize, ExitStatus) {
        let waits = std::iter::once(&mut self.router)
            .chain(&mut self.shards)
            .map(|child| Box::pin(child.wait()));
        let (status, index, _) = select_all(waits).await;
        (index, status)
    }

    /// Why the child's end is the server's end.
    pub async fn epitaph(&mut self, index: usize, status: ExitStatus) -> Failure {
        let child = match index {
            0 => &mut self.router,
            shard => &mut self.shards[shard - 1],
        };
        Failure::Died {
            who: child.role.to_string(),
            how: describe_end(status),
            why: None,
            last_words: child.last_words().await,
        }
    }

    /// Lets running requests finish within `grace`, then ends everything.
    pub async fn drain(
        &mut self,
        signal: &'static str,
        grace: Duration,
        signals: &mut Signals,
    ) -> Result<Ended, Failure> {
        tracing::info!(
            "{signal}: no new requests, running ones get {} s; Ctrl-C ends at once",
            grace.as_secs()
        );
        if self.router.send(&Message::Drain { drain: true }).is_err() {
            self.router.signal(Signal::SIGTERM);
        }
        let outcome = match self.finish(grace, signals).await {
            Finish::Done(status) if !status.success() => Err(self.epitaph(0, status).await),
            Finish::Done(_) => Ok(Ended::Drained),
            Finish::ShardLost(shard, status) => Err(self.epitaph(shard + 1, status).await),
            Finish::TimeIsUp => {
                tracing::warn!("the router did not end in time: killed");
                Ok(Ended::Drained)
            }
            Finish::Interrupted => {
                tracing::warn!("SIGINT: ending at once");
                Ok(Ended::CutOff)
            }
        };
        match &outcome {
            Ok(Ended::CutOff) => self.kill().await,
            Ok(Ended::Drained) => {
                self.router.kill().await;
                self.stop_shards(STOP_PATIENCE).await;
            }
            Err(failure) => self.fail(&failure.summary()).await,
        }
        outcome
    }

    async fn finish(&mut self, grace: Duration, signals: &mut Signals) -> Finish {
        let Self { router, shards, .. } = self;
        // The router keeps to the time by itself and then has some seconds to write its last answers; this
        // is for one that does not.
        let mut time_is_up = pin!(tokio::time::sleep(grace + 2 * STOP_PATIENCE));
        tokio::select! {
            biased;
            status = router.wait() => Finish::Done(status),
            (shard, status) = first_of(shards) => Finish::ShardLost(shard, status),
            () = signals.next_interrupt() => Finish::Interrupted,
            () = &mut time_is_up => Finish::TimeIsUp,
        }
    }

    /// Ends everything because of `cause`: the router tells its clients, then ends; then the shards.
    pub async fn fail(&mut self, cause: &str) {
        tracing::error!("{cause}: ending the others");
        // The router may be what ended; then there is nobody to tell. Else it gets the time to answer its
        // clients and ends by itself.
        if self
            .router
            .send(&Message::Failed {
                failed: bounded(cause),
            })
            .is_ok()
        {
            let _ = tokio::time::timeout(STOP_PATIENCE, self.router.wait()).await;
        }
        self.router.stop(STOP_PATIENCE).await;
        self.stop_shards(STOP_PATIENCE).await;
    }

    async fn stop_shards(&mut self, patience: Duration) {
        join_all(self.shards.iter_mut().map(|shard| shard.stop(patience))).await;
    }

    async fn kill(&mut self) {
        self.router.kill().await;
        join_all(self.shards.iter_mut().map(Process::kill)).await;
    }
}

/// The first of these to end; never, when there is none.
async fn first_of(children: &mut [Process]) -> (usize, ExitStatus) {
    if children.is_empty() {
        return std::future::pending().await;
    }
    let (status, index, _) = select_all(children.iter_mut().map(|child| Box::pin(child.wait()))).await;
    (index, status)
}
