//! `shardline-router`: settings, one engine, one HTTP server, and an end that loses nothing.
//!
//! Only the order of start and end belongs here.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use shardline_router::config::{Flags, RouterConfig};
use shardline_router::control::{self, Order};
use shardline_router::engine::{self, EngineHandle};
use shardline_router::http::{self, App, HttpSettings, ModelSlot};
use shardline_router::telemetry;
use shardline_text::{ModelText, Overrides};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

/// How long answers that are written already may take to reach their clients at the end.
const FLUSH: Duration = Duration::from_secs(5);

/// How the process was told to end.
#[derive(Clone, Debug)]
enum End {
    /// Running requests may finish.
    Drain,
    /// What runs is told the cause.
    Failed(String),
}

fn main() -> ExitCode {
    let config = match RouterConfig::new(Flags::parse()) {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(2);
        }
    };
    telemetry::start(&config.log);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start the runtime: {error}")),
    };
    match runtime.block_on(run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => fail(&cause),
    }
}

fn fail(cause: &str) -> ExitCode {
    eprintln!("error: {cause}");
    ExitCode::FAILURE
}

async fn run(config: RouterConfig) -> Result<(), String> {
    let listener = TcpListener::bind(config.address).await.map_err(|error| {
        format!(
            "cannot listen on {}: {error}; choose another --port",
            config.address
        )
    })?;
    let engine = engine::start(config.engine.clone())
        .map_err(|error| format!("cannot start the engine's thread: {error}"))?;
    let model = ModelSlot::default();
    let app = App::new(HttpSettings::new(&config), engine.clone(), model.clone());
    let (end, mut ended) = watch::channel(None);

    let loader = Loader {
        overrides: Overrides {
            tokenizer_config_path: config.tokenizer_config_path.clone(),
        },
        model,
        engine: engine.clone(),
        end: end.clone(),
    };
    if let Some(path) = config.model_path.clone() {
        loader.load(path);
    }
    if let Some(descriptor) = config.control_fd {
        let orders =
            control::listen(descriptor).map_err(|error| format!("cannot read --control-fd: {error}"))?;
        tokio::spawn(obey(orders, loader, engine.clone(), end.clone()));
    }
    tokio::spawn(await_signals(end));

    let (close, closed) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(http::serve(
        listener,
        app.router(),
        HttpSettings::new(&config).transport,
        async {
            // A sender that is dropped asks for the same.
            let _ = closed.await;
        },
    ));
    let how = ended
        .wait_for(Option::is_some)
        .await
        .ok()
        .and_then(|end| end.clone());
    let result = match how {
        Some(End::Failed(cause)) => {
            engine.fail(cause.clone()).await;
            Err(cause)
        }
        Some(End::Drain) | None => {
            tracing::info!(
                grace_s = config.grace.as_secs(),
                "draining: running requests finish, new ones are refused"
            );
            engine.drain(config.grace).await;
            Ok(())
        }
    };
    drop(close);
    if tokio::time::timeout(FLUSH, server).await.is_err() {
        tracing::warn!("clients that do not read were left behind");
    }
    result
}

/// Loads the model's text side without holding anything up.
struct Loader {
    overrides: Overrides,
    model: ModelSlot,
    engine: EngineHandle,
    end: watch::Sender<Option<End>>,
}

impl Loader {
    fn load(&self, path: PathBuf) {
        let (overrides, model, end) = (self.overrides.clone(), self.model.clone(), self.end.clone());
        tokio::task::spawn_blocking(move || match ModelText::load(&path, &overrides) {
            Ok(text) => model.fill(text.into()),
            Err(error) => {
                end.send_replace(Some(End::Failed(error.to_string())));
            }
        });
    }
}

/// Does what the launcher says.
async fn obey(
    mut orders: mpsc::Receiver<Order>,
    loader: Loader,
    engine: EngineHandle,
    end: watch::Sender<Option<End>>,
) {
    while let Some(order) = orders.recv().await {
        match order {
            Order::Phase { phase, message } => loader.engine.report_phase(&phase, &message),
            Order::ModelPath(path) => loader.load(path),
            Order::Drain => {
                end.send_replace(Some(End::Drain));
            }
            Order::Failed(cause) => {
                end.send_replace(Some(End::Failed(cause)));
            }
            Order::Gone => {
                engine.fail("the launcher is gone".to_owned()).await;
                std::process::exit(1);
            }
        }
    }
}

/// SIGTERM and SIGINT drain; a second one ends at once.
async fn await_signals(end: watch::Sender<Option<End>>) {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::warn!("cannot listen for signals: the process ends at once when it gets one");
        return;
    };
    let mut seen = false;
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if seen {
            std::process::exit(130);
        }
        seen = true;
        end.send_replace(Some(End::Drain));
    }
}
