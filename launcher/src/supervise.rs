//! Runs a plan from the first bind to the last drain.
//!
//! ## Transitions
//! - start → waiting for the model: the router runs and binds at once, `/health` says 503
//! - waiting for the model → waiting to be ready: the path is known, the shards start
//! - waiting to be ready → serving: the router says so
//! - serving → pausing: a shard ended by itself, or the router says that they do not answer; all are
//!   ended, the router keeps every stream and is told to wait
//! - pausing → restarting: the pause that [`Restarts`] asks for is over; new shards start on the same sockets
//! - restarting → serving: the router says so of these shards, and the streams go on
//! - any → draining: SIGTERM, SIGINT or SIGHUP; the router finishes what runs, then the shards end
//! - any → failing: the router ended by itself, a shard did before it was ready or too often, or there
//!   is no model; the router tells its clients, ends, then the shards end
//!
//! In every end the router goes before the shards, and nothing that was started is left.

use std::future::pending;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use crate::console::Console;
use crate::download::{Download, Milestones, Report};
use crate::ends::{Ended, Failure};
use crate::group::Group;
use crate::health::{self, Told};
use crate::plan::Plan;
use crate::restarts::{Restarts, Verdict};
use crate::signals::Signals;

/// How often the router is asked while shards start.
const STARTING_INTERVAL: Duration = Duration::from_millis(100);
/// How often it is asked while they serve: only a group that does not answer is found out like this.
const SERVING_INTERVAL: Duration = Duration::from_secs(1);

/// What the supervisor is told besides the plan.
#[derive(Debug)]
pub struct Circumstances {
    /// How clients on this machine reach the router.
    pub url: String,
    /// Where the router tells its health.
    pub health: PathBuf,
    /// The model's path, where it is known from the start.
    pub model_path: Option<PathBuf>,
    /// How long running requests get when the server ends.
    pub grace: Duration,
    /// What is served, for the line that says that it is ready.
    pub what: String,
    /// Logged after that line: something to try.
    pub hint: Option<String>,
}

/// What the loop waits for.
enum Event {
    Signal(&'static str),
    Exited(usize, ExitStatus),
    Download(Report),
    Told(Told),
    PauseOver,
}

/// See the module.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Until the shards are ready for the first time.
    Starting,
    /// They are.
    Serving,
    /// They are lost and ended.
    Pausing { lost: Instant, until: Instant },
    /// New ones start.
    Restarting { lost: Instant },
}

/// Starts everything and returns when nothing is left running.
pub async fn run(plan: &Plan, circumstances: &Circumstances, console: &Console) -> Result<Ended, Failure> {
    let mut signals = Signals::listen()?;
    let mut supervisor = Supervisor {
        plan,
        circumstances,
        console,
        group: Group::start(&plan.router, console)?,
        download: None,
        began: Instant::now(),
        model_path: None,
        stage: Stage::Starting,
        restarts: Restarts::default(),
    };
    let outcome = match supervisor.start_model() {
        Ok(()) => supervisor.watch(&mut signals).await,
        Err(failure) => Err(failure),
    };
    supervisor.end_download().await;
    match outcome {
        Ok(signal) => {
            supervisor
                .group
                .drain(signal, circumstances.grace, &mut signals)
                .await
        }
        Err(failure) => {
            supervisor.group.fail(&failure.summary()).await;
            Err(failure)
        }
    }
}

struct Supervisor<'a> {
    plan: &'a Plan,
    circumstances: &'a Circumstances,
    console: &'a Console,
    group: Group,
    download: Option<Download>,
    /// When this process began to look for the model.
    began: Instant,
    /// Where the shards find it.
    model_path: Option<PathBuf>,
    stage: Stage,
    restarts: Restarts,
}

impl Supervisor<'_> {
    /// Starts the shards, or what tells where their model is.
    fn start_model(&mut self) -> Result<(), Failure> {
        match (&self.circumstances.model_path, &self.plan.download) {
            (Some(path), _) => {
                self.model_path = Some(path.clone());
                self.start_shards(None)
            }
            (None, Some(spec)) => {
                self.download = Some(Download::start(spec, self.console)?);
                self.group.tell_phase("download", "looking for the model's files");
                Ok(())
            }
            (None, None) => Err(no_model()),
        }
    }

    fn start_shards(&mut self, download: Option<Duration>) -> Result<(), Failure> {
        let path = self.model_path.as_deref().ok_or_else(no_model)?;
        for spec in self.plan.shards(path, download) {
            self.group.add(&spec, self.console)?;
        }
        Ok(())
    }

    /// Returns the name of the signal that ends the server, or why it failed.
    async fn watch(&mut self, signals: &mut Signals) -> Result<&'static str, Failure> {
        let mut milestones = Milestones::default();
        loop {
            let interval = self.interval();
            let event = tokio::select! {
                biased;
                name = signals.next() => Event::Signal(name),
                (index, status) = self.group.first_exit() => Event::Exited(index, status),
                report = next_report(&mut self.download) => Event::Download(report),
                () = pause_over(self.stage) => Event::PauseOver,
                told = health::ask(&self.circumstances.health, interval) => Event::Told(told),
            };
            match event {
                Event::Signal(name) => {
                    // Streams that wait for shards go on within the grace time.
                    self.end_pause()?;
                    return Ok(name);
                }
                Event::Exited(index, status) => {
                    let failure = self.group.epitaph(index, status).await;
                    match index {
                        0 => return Err(failure),
                        _ => self.on_loss(failure).await?,
                    }
                }
                Event::Download(report) => self.on_report(report, &mut milestones)?,
                Event::PauseOver => self.end_pause()?,
                Event::Told(told) => self.on_told(told).await?,
            }
        }
    }

    fn interval(&self) -> Duration {
        match self.stage {
            Stage::Serving => SERVING_INTERVAL,
            Stage::Starting | Stage::Pausing { .. } | Stage::Restarting { .. } => STARTING_INTERVAL,
        }
    }

    fn on_report(&mut self, report: Report, milestones: &mut Milestones) -> Result<(), Failure> {
        match report {
            Report::Progress(progress) => {
                self.console.progress(&progress, milestones.passes(&progress));
                self.group.tell_phase("download", &progress.to_string());
            }
            Report::Warning(sentence) => tracing::warn!("{sentence}"),
            Report::Error(sentence) => return Err(Failure::NoModel(sentence)),
            Report::ModelPath(path) => {
                self.download = None;
                self.console.end_progress();
                self.group.tell_phase("starting", "the shards are started");
                self.group.tell_model_path(&path);
                self.model_path = Some(path);
                self.start_shards(Some(self.began.elapsed()))?;
            }
        }
        Ok(())
    }

    /// What the router says counts when it speaks of the shards that run now.
    async fn on_told(&mut self, told: Told) -> Result<(), Failure> {
        if told.group != self.group.number() {
            return Ok(());
        }
        if let Some(cause) = told.stuck {
            return self.on_loss(Failure::Stuck { cause, why: None }).await;
        }
        match self.stage {
            Stage::Starting if told.serving => self.on_ready(),
            Stage::Restarting { lost } if told.serving => {
                let took = lost.elapsed().as_secs_f32();
                tracing::info!("the shards are back after {took:.1} s; running requests go on");
            }
            _ => return Ok(()),
        }
        self.stage = Stage::Serving;
        self.restarts.on_ready();
        Ok(())
    }

    fn on_ready(&self) {
        let Circumstances { url, what, .. } = self.circumstances;
        let took = self.began.elapsed().as_secs_f32();
        tracing::info!("ready on {url} after {took:.1} s: {what}");
        if let Some(hint) = &self.circumstances.hint {
            tracing::info!("{hint}");
        }
    }

    /// Ends what is left of the shards and has new ones started, if that may help.
    async fn on_loss(&mut self, failure: Failure) -> Result<(), Failure> {
        let lost = Instant::now();
        let pause = match self.restarts.on_loss(lost) {
            Verdict::GiveUp(reason) => return Err(failure.for_good(reason)),
            Verdict::Restart(pause) => pause,
        };
        tracing::error!("{failure}");
        tracing::warn!("the shards start again, running requests wait for them");
        self.group.end_shards().await;
        self.group.tell_replaced(&failure.summary());
        self.stage = Stage::Pausing {
            lost,
            until: lost + pause,
        };
        Ok(())
    }

    /// Starts new shards where they are awaited.
    fn end_pause(&mut self) -> Result<(), Failure> {
        let Stage::Pausing { lost, .. } = self.stage else {
            return Ok(());
        };
        self.stage = Stage::Restarting { lost };
        self.start_shards(None)
    }

    async fn end_download(&mut self) {
        self.console.end_progress();
        if let Some(mut download) = self.download.take() {
            download.stop().await;
        }
    }
}

fn no_model() -> Failure {
    Failure::NoModel("neither a model's path nor a download is planned".to_owned())
}

async fn next_report(download: &mut Option<Download>) -> Report {
    match download {
        Some(download) => download.next().await,
        None => pending().await,
    }
}

async fn pause_over(stage: Stage) {
    match stage {
        Stage::Pausing { until, .. } => tokio::time::sleep_until(until.into()).await,
        Stage::Starting | Stage::Serving | Stage::Restarting { .. } => pending().await,
    }
}
