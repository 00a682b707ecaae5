//! What the rest of the router holds of the engine.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::engine::api::{
    EngineInfo, EngineState, EngineStats, Generate, Grammar, GrammarError, SubmitError,
};
use crate::engine::cancel::Cancellations;
use crate::engine::generation::Generation;
use crate::engine::grammars::Compilers;

/// Commands that wait for the actor. It takes all that wait once a step, so more than this means
/// that it does not keep up with refusing.
const COMMAND_CAPACITY: usize = 4096;

/// How long a client should stay away when the actor itself does not keep up.
const COMMAND_QUEUE_RETRY_AFTER: Duration = Duration::from_secs(1);

/// What a handle asks of the actor.
#[derive(Debug)]
pub(super) enum Command {
    /// Take a sequence, or say why not.
    Submit {
        generate: Generate,
        answer: oneshot::Sender<Result<Generation, SubmitError>>,
    },
    /// Take no more; answer when nothing runs, at the latest soon after `grace`.
    Drain {
        grace: Duration,
        done: oneshot::Sender<()>,
    },
    /// Whoever supervises knows that this cannot work any more.
    Fail { cause: String },
    /// Every process of the last group is dead; those of this one start.
    Replaced { group: u64, cause: String },
}

/// What the actor shows to all handles.
#[derive(Debug)]
pub(super) struct Board {
    pub(super) state: watch::Sender<EngineState>,
    pub(super) info: OnceLock<Arc<EngineInfo>>,
    pub(super) stats: Mutex<EngineStats>,
    pub(super) cancellations: Arc<Cancellations>,
    pub(super) compilers: Compilers,
    /// Which group of processes is served or awaited. Written only when the state says that the one
    /// before is lost, so whoever reads it before the state never takes the old one for the new.
    pub(super) group: AtomicU64,
    pub(super) max_concurrent_requests: u32,
}

impl Board {
    /// Shows a start-up phase while the engine has not served yet.
    pub(super) fn report_phase(&self, phase: &str, message: &str) {
        self.state.send_if_modified(|state| {
            let next = EngineState::Starting {
                phase: phase.to_owned(),
                message: message.to_owned(),
            };
            let changes = matches!(state, EngineState::Starting { .. }) && *state != next;
            if changes {
                *state = next;
            }
            changes
        });
    }

    pub(super) fn publish_stats(&self, stats: &EngineStats) {
        self.stats
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone_from(stats);
    }
}

/// A cheap, clonable handle of the engine.
#[derive(Clone, Debug)]
pub struct EngineHandle {
    board: Arc<Board>,
    commands: mpsc::Sender<Command>,
}

/// A handle, and the actor's ends of what it speaks through.
pub(super) fn handle(max_concurrent_requests: u32) -> (EngineHandle, Arc<Board>, mpsc::Receiver<Command>) {
    let (commands, receiver) = mpsc::channel(COMMAND_CAPACITY);
    let starting = EngineState::Starting {
        phase: "starting".to_owned(),
        message: String::new(),
    };
    let board = Arc::new(Board {
        state: watch::Sender::new(starting),
        info: OnceLock::new(),
        stats: Mutex::default(),
        cancellations: Arc::default(),
        compilers: Compilers::default(),
        group: AtomicU64::new(1),
        max_concurrent_requests,
    });
    (
        EngineHandle {
            board: board.clone(),
            commands,
        },
        board,
        receiver,
    )
}

impl EngineHandle {
    /// Where the engine stands.
    #[must_use]
    pub fn state(&self) -> EngineState {
        self.board.state.borrow().clone()
    }

    /// Whether `submit` can succeed now. Cheaper than `state`.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(
            *self.board.state.borrow(),
            EngineState::Ready | EngineState::Recovering { .. }
        )
    }

    /// Where the engine stands, and every change of it.
    #[must_use]
    pub fn watch_state(&self) -> watch::Receiver<EngineState> {
        self.board.state.subscribe()
    }

    /// What is served; `None` until the engine was ready for the first time.
    #[must_use]
    pub fn info(&self) -> Option<Arc<EngineInfo>> {
        self.board.info.get().cloned()
    }

    /// Counters and gauges as of the last step.
    #[must_use]
    pub fn stats(&self) -> EngineStats {
        self.board
            .stats
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether the model's shards follow grammars, as far as is known.
    #[must_use]
    pub fn follows_grammars(&self) -> bool {
        self.info()
            .is_none_or(|info| info.features.iter().any(|name| name == "grammar"))
    }

    /// Compiles a grammar for sequences to come. To be asked before `submit`.
    ///
    /// # Errors
    /// When it cannot be followed, or not now.
    pub async fn compile(&self, grammar: &Grammar) -> Result<(), GrammarError> {
        if !self.follows_grammars() {
            return Err(GrammarError::Unsupported);
        }
        self.board.compilers.compile(grammar, || self.state()).await
    }

    /// Hands a sequence to the engine. Answers at once: accepted or refused, never queued outside
    /// of the engine's own bounded queue. Dropping the future cancels the sequence.
    ///
    /// # Errors
    /// When the engine does not serve, is full, or the sequence can never fit.
    pub async fn submit(&self, generate: Generate) -> Result<Generation, SubmitError> {
        let (answer, answered) = oneshot::channel();
        match self.commands.try_send(Command::Submit { generate, answer }) {
            Ok(()) => answered
                .await
                .unwrap_or_else(|_| Err(SubmitError::NotReady { state: self.state() })),
            Err(mpsc::error::TrySendError::Full(_)) => Err(SubmitError::Overloaded {
                limit: self.board.max_concurrent_requests,
                retry_after: COMMAND_QUEUE_RETRY_AFTER,
            }),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(SubmitError::NotReady { state: self.state() }),
        }
    }

    /// Refuses new sequences, lets those that run finish for up to `grace`, cancels the rest.
    /// Returns when none is left.
    pub async fn drain(&self, grace: Duration) {
        let (done, drained) = oneshot::channel();
        if self.commands.send(Command::Drain { grace, done }).await.is_ok() {
            // An actor that is gone has nothing left to finish.
            let _ = drained.await;
        }
    }

    /// Shows a start-up phase that happens before the shards answer (`download`).
    pub fn report_phase(&self, phase: &str, message: &str) {
        self.board.report_phase(phase, message);
    }

    /// Which group of shard processes is served or awaited, counted by whoever starts them, and where
    /// the engine stands with it.
    #[must_use]
    pub fn group(&self) -> (u64, EngineState) {
        let group = self.board.group.load(Ordering::Acquire);
        (group, self.state())
    }

    /// The shards' processes are dead and new ones start, as often as `group` says.
    pub async fn replaced(&self, group: u64, cause: String) {
        // An actor that is gone has failed or finished already.
        let _ = self.commands.send(Command::Replaced { group, cause }).await;
    }

    /// Ends the engine for a cause that only its supervisor knows.
    pub async fn fail(&self, cause: String) {
        // An actor that is gone has failed or finished already.
        let _ = self.commands.send(Command::Fail { cause }).await;
    }
}
