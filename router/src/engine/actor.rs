//! The one task that owns the scheduler and the shard group.
//!
//! ## Connecting → Serving → Recovering → Serving …, and from each → Ended
//! - Connecting: until every shard is ready; submissions are refused with the phase.
//! - Serving: steps out, outcomes in. A lost group leads to Recovering.
//! - Recovering: sequences wait with the tokens they have; a group that comes back, by itself or
//!   because its launcher has replaced it, goes on with them in a new session (see `patience`).
//! - Ended: drained, failed, or all handles are gone.

mod recovery;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use shardline_scheduler::{InvariantViolation, ProtocolError, Scheduler};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep_until;

use crate::engine::api::{EngineState, SubmitError};
use crate::engine::config::EngineConfig;
use crate::engine::core::Core;
use crate::engine::handle::{Board, Command};
use crate::engine::patience::Patience;
use crate::engine::sizing::size;
use crate::shard::{GroupError, GroupInfo, ShardGroup};

/// Why the actor is over.
#[derive(Debug)]
enum End {
    /// Nothing is left to do after a drain.
    Drained,
    /// It cannot go on.
    Failed(String),
    /// Nobody can ask for anything any more.
    Abandoned,
}

/// Why a session is over.
#[derive(Debug, thiserror::Error)]
enum Loss {
    #[error(transparent)]
    Group(#[from] GroupError),
    #[error("shard 0 answered what was not asked: {0}")]
    Protocol(#[from] ProtocolError),
    #[error("{0}")]
    Replaced(String),
    /// A defect; a new session begins with a state that is right.
    #[error(transparent)]
    Invariant(#[from] InvariantViolation),
}

/// Why serving stopped.
enum Stop {
    End(End),
    Loss(Loss),
}

impl<E: Into<Loss>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Loss(error.into())
    }
}

/// The launcher's word that a group is dead and the next one starts.
struct Replacement {
    group: u64,
    cause: String,
}

struct Draining {
    deadline: Instant,
    done: Vec<oneshot::Sender<()>>,
}

/// See the module.
pub(super) struct Actor {
    config: EngineConfig,
    board: Arc<Board>,
    commands: mpsc::Receiver<Command>,
    core: Option<Core>,
    draining: Option<Draining>,
    epoch: u64,
    fruitless_sessions: u32,
    /// Told, and not yet acted upon.
    replacement: Option<Replacement>,
}

impl Actor {
    pub(super) fn new(config: EngineConfig, board: Arc<Board>, commands: mpsc::Receiver<Command>) -> Self {
        // Any number does that is not the last router's; the clock's is not.
        let epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| time.as_nanos() as u64);
        Self {
            config,
            board,
            commands,
            core: None,
            draining: None,
            epoch,
            fruitless_sessions: 0,
            replacement: None,
        }
    }

    /// Runs to the end and leaves the final state on the board.
    pub(super) async fn run(mut self) {
        let end = self.live().await;
        let cause = match end {
            End::Failed(cause) => {
                tracing::error!(%cause, "the engine failed");
                self.board
                    .state
                    .send_replace(EngineState::Failed { cause: cause.clone() });
                cause
            }
            End::Drained => {
                tracing::info!("drained");
                "the server is shutting down".to_owned()
            }
            End::Abandoned => "the engine has no more handles".to_owned(),
        };
        if let Some(core) = &mut self.core {
            core.lose_all(&cause);
            self.board.publish_stats(core.stats());
        }
        if let Some(draining) = self.draining.take() {
            draining.finish();
        }
        self.refuse_the_rest().await;
    }

    /// Answers commands that come after the end, for as long as somebody can send them.
    async fn refuse_the_rest(&mut self) {
        while let Some(command) = self.commands.recv().await {
            match command {
                Command::Submit { answer, .. } => {
                    let state = self.board.state.borrow().clone();
                    // A caller that went away needs no answer.
                    let _ = answer.send(Err(SubmitError::NotReady { state }));
                }
                Command::Drain { done, .. } => {
                    let _ = done.send(());
                }
                Command::Fail { .. } | Command::Replaced { .. } => {}
            }
        }
    }

    async fn live(&mut self) -> End {
        let (mut group, info) = match self.connect(Patience::FirstStart).await {
            Ok(connected) => connected,
            Err(end) => return end,
        };
        if let Err(end) = self.begin(&info) {
            return end;
        }
        loop {
            self.board.compilers.set(Some(group.compiler()));
            let loss = match self.serve(&mut group).await {
                Stop::End(end) => return end,
                Stop::Loss(loss) => loss,
            };
            self.board.compilers.set(None);
            drop(group);
            group = match self.recover(&loss, &info).await {
                Ok(group) => group,
                Err(end) => return end,
            };
        }
    }

    /// Sizes the scheduler and opens for requests.
    fn begin(&mut self, group: &GroupInfo) -> Result<(), End> {
        let (config, info) = size(&self.config, group).map_err(|error| End::Failed(error.to_string()))?;
        let info = Arc::new(info);
        tracing::info!(
            model_type = info.model_type,
            shards = info.num_shard,
            max_total_tokens = info.max_total_tokens,
            kv_cache_tokens = info.kv_cache_tokens,
            "shards are ready"
        );
        let limit = self.config.max_concurrent_requests;
        let cancellations = self.board.cancellations.clone();
        let mut core = Core::new(Scheduler::new(config), info.clone(), limit, cancellations);
        self.board.publish_stats(core.stats());
        self.core = Some(core);
        // Set once, here: nobody else writes it.
        let _ = self.board.info.set(info);
        self.open();
        Ok(())
    }

    fn open(&self) {
        if self.draining.is_none() {
            self.board.state.send_replace(EngineState::Ready);
        }
    }

    /// Serves until the session or the engine ends.
    async fn serve(&mut self, group: &mut ShardGroup) -> Stop {
        let mut outcomes: u64 = 0;
        let Err(stop) = self.serve_session(group, &mut outcomes).await;
        let died_of_a_step = self
            .core
            .as_ref()
            .is_some_and(|core| core.oldest_step().is_some());
        match outcomes {
            0 if died_of_a_step => self.fruitless_sessions += 1,
            _ => self.fruitless_sessions = 0,
        }
        stop
    }

    async fn serve_session(
        &mut self,
        group: &mut ShardGroup,
        outcomes: &mut u64,
    ) -> Result<std::convert::Infallible, Stop> {
        loop {
            self.take_waiting_commands().map_err(Stop::End)?;
            if let Some(replacement) = &self.replacement {
                return Err(Loss::Replaced(replacement.cause.clone()).into());
            }
            let planning = self.core.as_ref().and_then(Core::planning_waits);
            self.turn(group, planning.is_none())?;
            if self.is_drained() {
                return Err(Stop::End(End::Drained));
            }
            let deadline = self.next_deadline().into_iter().chain(planning).min();
            let cancellations = self.board.cancellations.clone();
            tokio::select! {
                biased;
                outcome = group.next() => {
                    let outcome = outcome?;
                    if let Some(core) = &mut self.core {
                        core.apply(outcome)?;
                    }
                    *outcomes += 1;
                }
                command = self.commands.recv() => self.take(command).map_err(Stop::End)?,
                () = cancellations.requested() => {}
                () = until(deadline) => self.on_deadline()?,
            }
        }
    }

    /// Cancels, sends every step that can be sent if it is time to plan, then delivers what the last outcome brought.
    fn turn(&mut self, group: &mut ShardGroup, plans: bool) -> Result<(), Loss> {
        let Some(core) = &mut self.core else { return Ok(()) };
        core.cancel_requested();
        while plans && let Some(step) = core.next_step() {
            group.send(step)?;
        }
        // Whoever has seen an event finds it counted.
        self.board.publish_stats(core.stats());
        core.deliver();
        core.check_when_idle()?;
        Ok(())
    }

    fn take_waiting_commands(&mut self) -> Result<(), End> {
        while let Ok(command) = self.commands.try_recv() {
            self.take(Some(command))?;
        }
        Ok(())
    }

    fn take(&mut self, command: Option<Command>) -> Result<(), End> {
        match command {
            Some(Command::Submit { generate, answer }) => {
                let submitted = match (&mut self.core, &self.draining) {
                    (Some(core), None) => core.submit(generate),
                    _ => Err(SubmitError::NotReady {
                        state: self.board.state.borrow().clone(),
                    }),
                };
                // A caller that went away drops the generation, which cancels it.
                let _ = answer.send(submitted);
                Ok(())
            }
            Some(Command::Drain { grace, done }) => {
                self.drain(grace, done);
                Ok(())
            }
            Some(Command::Fail { cause }) => Err(End::Failed(cause)),
            Some(Command::Replaced { group, cause }) => {
                self.replacement = Some(Replacement { group, cause });
                Ok(())
            }
            None => Err(End::Abandoned),
        }
    }

    fn drain(&mut self, grace: Duration, done: oneshot::Sender<()>) {
        let deadline = Instant::now() + grace;
        let draining = self.draining.get_or_insert_with(|| Draining {
            deadline,
            done: Vec::new(),
        });
        draining.deadline = draining.deadline.min(deadline);
        draining.done.push(done);
        self.board.state.send_replace(EngineState::Draining);
    }

    fn is_drained(&self) -> bool {
        self.draining.is_some() && self.core.as_ref().is_none_or(Core::is_idle)
    }

    /// The drain's end or the oldest step's, whichever comes first.
    fn next_deadline(&self) -> Option<Instant> {
        let drain = self.draining.as_ref().map(|draining| draining.deadline);
        let oldest = self.core.as_ref().and_then(Core::oldest_step);
        let step = oldest.map(|(_, sent)| sent + self.config.step_timeout);
        drain.into_iter().chain(step).min()
    }

    fn on_deadline(&mut self) -> Result<(), GroupError> {
        let now = Instant::now();
        let limit = self.config.step_timeout;
        let Some(core) = &mut self.core else { return Ok(()) };
        if self
            .draining
            .as_ref()
            .is_some_and(|draining| draining.deadline <= now)
        {
            core.cancel_all();
            core.deliver();
        }
        match core.oldest_step() {
            Some((step, sent)) if sent + limit <= now => Err(GroupError::Silent { step, limit }),
            _ => Ok(()),
        }
    }

    fn cancel_requested(&mut self) {
        if let Some(core) = &mut self.core {
            core.cancel_requested();
            core.deliver();
        }
    }

    fn cancel_all(&mut self) {
        if let Some(core) = &mut self.core {
            core.cancel_all();
            core.deliver();
        }
    }
}

impl Draining {
    fn finish(self) {
        for done in self.done {
            // Whoever does not wait any more needs no answer.
            let _ = done.send(());
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
