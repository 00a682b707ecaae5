//! The life of the router's process: listen at once, start the engine, read the tokenizer beside
//! it, and end when told to.
//!
//! ## Serving → Draining → over
//! SIGTERM, SIGINT or the launcher's order starts the drain: new requests are refused, running ones
//! finish within the grace time. A lost launcher or a failed engine ends the process at once.

mod beside;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use shardline_text::{LoadError, ModelText, Overrides};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;

use crate::access::KeyFileError;
use crate::config::RouterConfig;
use crate::control::{self, Order};
use crate::engine::api::EngineState;
use crate::engine::{self, EngineHandle};
use crate::http::{self, App, Door, HttpSettings, ModelSlot, TlsError, TransportLimits};

/// How long connections get for the last bytes of their answers once no request runs.
const FLUSH_TIME: Duration = Duration::from_secs(5);

/// Exit code of an end that cut requests off, as a shell has it for Ctrl-C.
const INTERRUPTED: u8 = 130;

/// Why the process ends without having finished its work.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The port is taken, or the address is not this machine's.
    #[error("cannot listen on {address}: {error}; choose another --port or --hostname")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The port of the numbers is taken.
    #[error("cannot listen on {address} for metrics: {error}; choose another --prometheus-port")]
    Metrics {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The socket of the launcher cannot be made.
    #[error("cannot listen on {} for the launcher: {error}", path.display())]
    Health {
        /// Where.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// No thread, no signal handler.
    #[error("the system gives no {what}: {error}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// The API keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// Certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The model's files say nothing useful about text.
    #[error("cannot read the model's text files: {0}")]
    Text(#[from] LoadError),
    /// A defect while reading them.
    #[error("reading the model's text files stopped: {0}")]
    TextStopped(#[from] JoinError),
    /// The engine cannot go on.
    #[error("{0}")]
    Engine(String),
    /// The launcher ended without a word.
    #[error("the launcher is gone")]
    LauncherGone,
    /// A second signal.
    #[error("interrupted while requests were running")]
    Interrupted,
}

impl Failure {
    /// For whoever started the process.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Interrupted => INTERRUPTED,
            _ => 1,
        }
    }
}

/// Runs the router until it is told to end.
///
/// # Errors
/// When it cannot start or has to end before its time.
pub async fn run(config: RouterConfig) -> Result<(), Failure> {
    // Before anybody can know that the process is there.
    let signals = Signals::new()?;
    let address = config.address;
    let cannot_listen = |error| Failure::Listen { address, error };
    let listener = http::listen(address).map_err(cannot_listen)?;
    let address = listener.local_addr().map_err(cannot_listen)?;
    let (keys, tls) = beside::secrets(&config.http)?;
    tracing::info!(%address, tls = tls.is_some(), keys = keys.required(), "listening");
    let engine = engine::start(config.engine.clone()).map_err(|error| Failure::System {
        what: "thread for the engine",
        error,
    })?;
    let model = ModelSlot::default();
    let app = App::new(
        HttpSettings::new(&config, keys.clone()),
        engine.clone(),
        model.clone(),
    );
    let _beside = [
        beside::follow_files(&config.http, keys, tls.clone())?,
        beside::tell_numbers(config.metrics_address, &app)?,
        beside::tell_health(config.health_socket.as_deref(), &app)?,
    ];
    let mut supervisor = Supervisor::new(config, engine, model, signals)?;
    let (close, closed) = oneshot::channel::<()>();
    let shutdown = async {
        // A sender that is dropped closes as well.
        let _ = closed.await;
    };
    let limits = TransportLimits::within(beside::open_files());
    let door = Door { listener, tls };
    let server = tokio::spawn(http::serve(door, app.router(), limits, shutdown));
    let result = supervisor.supervise().await;
    drop(close);
    if !matches!(result, Err(Failure::LauncherGone | Failure::Interrupted))
        && timeout(FLUSH_TIME, server).await.is_err()
    {
        tracing::warn!("connections did not end in time");
    }
    result
}

fn handler(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::System {
        what: "signal handler",
        error,
    })
}

/// SIGTERM and SIGINT, which mean the same.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        Ok(Self {
            terminate: handler(SignalKind::terminate())?,
            interrupt: handler(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// What can happen to the process.
enum Happening {
    Order(Order),
    Signal,
    TextLoaded(Result<Result<Arc<ModelText>, LoadError>, JoinError>),
    EngineFailed(String),
    Drained,
}

/// Waits for what happens and does what it asks for.
struct Supervisor {
    overrides: Overrides,
    grace: Duration,
    engine: EngineHandle,
    model: ModelSlot,
    state: watch::Receiver<EngineState>,
    orders: Option<mpsc::Receiver<Order>>,
    signals: Signals,
    loading: Option<JoinHandle<Result<Arc<ModelText>, LoadError>>>,
    draining: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Supervisor {
    fn new(
        config: RouterConfig,
        engine: EngineHandle,
        model: ModelSlot,
        signals: Signals,
    ) -> Result<Self, Failure> {
        let orders = match config.control_fd.map(control::listen) {
            Some(Err(error)) => {
                return Err(Failure::System {
                    what: "thread for the control pipe",
                    error,
                });
            }
            Some(Ok(orders)) => Some(orders),
            None => None,
        };
        let mut supervisor = Self {
            overrides: Overrides {
                tokenizer_config_path: config.tokenizer_config_path,
                generation: config.generation,
            },
            grace: config.grace,
            state: engine.watch_state(),
            engine,
            model,
            orders,
            signals,
            loading: None,
            draining: None,
        };
        if let Some(path) = config.model_path {
            supervisor.load_text(path);
        }
        Ok(supervisor)
    }

    async fn supervise(&mut self) -> Result<(), Failure> {
        loop {
            match self.happening().await {
                Happening::Order(order) => self.obey(order).await?,
                Happening::Signal if self.draining.is_some() && self.orders.is_none() => {
                    return Err(Failure::Interrupted);
                }
                // With a launcher the second signal is its business: a terminal signals all at once.
                Happening::Signal => self.drain(),
                Happening::TextLoaded(text) => {
                    self.model.fill(text??);
                    tracing::info!("tokenizer is ready");
                }
                Happening::EngineFailed(cause) => return Err(Failure::Engine(cause)),
                Happening::Drained => return Ok(()),
            }
        }
    }

    async fn happening(&mut self) -> Happening {
        tokio::select! {
            order = next_order(&mut self.orders) => Happening::Order(order),
            () = self.signals.next() => Happening::Signal,
            text = done(&mut self.loading) => {
                self.loading = None;
                Happening::TextLoaded(text)
            }
            cause = failure(&mut self.state) => Happening::EngineFailed(cause),
            () = done(&mut self.draining) => Happening::Drained,
        }
    }

    async fn obey(&mut self, order: Order) -> Result<(), Failure> {
        match order {
            Order::Phase { phase, message } => self.engine.report_phase(&phase, &message),
            Order::ModelPath(path) => self.load_text(path),
            Order::Drain => self.drain(),
            Order::Failed(cause) => self.engine.fail(cause).await,
            Order::Replaced { group, cause } => self.engine.replaced(group, cause).await,
            Order::Gone => return Err(Failure::LauncherGone),
        }
        Ok(())
    }

    /// Reads the model's text files on a thread that may block. A second path is left out.
    fn load_text(&mut self, path: PathBuf) {
        if self.loading.is_none() && self.model.get().is_none() {
            let overrides = self.overrides.clone();
            let load = move || ModelText::load(&path, &overrides).map(Arc::new);
            self.loading = Some(tokio::task::spawn_blocking(load));
        }
    }

    fn drain(&mut self) {
        if self.draining.is_none() {
            tracing::info!(seconds = self.grace.as_secs(), "draining");
            let (engine, grace) = (self.engine.clone(), self.grace);
            self.draining = Some(Box::pin(async move { engine.drain(grace).await }));
        }
    }
}

/// The next order; never, without a launcher.
async fn next_order(orders: &mut Option<mpsc::Receiver<Order>>) -> Order {
    match orders {
        Some(orders) => orders.recv().await.unwrap_or(Order::Gone),
        None => std::future::pending().await,
    }
}

/// The output of a future that may not be there.
async fn done<F: Future + Unpin>(future: &mut Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// The engine's cause, once it failed.
async fn failure(state: &mut watch::Receiver<EngineState>) -> String {
    match state
        .wait_for(|state| matches!(state, EngineState::Failed { .. }))
        .await
        .as_deref()
    {
        Ok(EngineState::Failed { cause }) => cause.clone(),
        Ok(_) | Err(_) => "the engine is gone".to_owned(),
    }
}
