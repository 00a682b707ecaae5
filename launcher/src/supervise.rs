//! Runs a plan from the first bind to the last drain.
//!
//! ## Transitions
//! - start → waiting for the model: the router runs and binds at once, `/health` says 503
//! - waiting for the model → waiting to be ready: the path is known, the shards start
//! - waiting to be ready → serving: `/health` says 200
//! - any → draining: SIGTERM, SIGINT or SIGHUP; the router finishes what runs, then the shards end
//! - any → failing: a child ended by itself or there is no model; the router tells its clients, ends,
//!   then the shards end
//!
//! In every end the router goes before the shards, and nothing that was started is left.

use std::future::pending;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use futures_util::FutureExt;

use crate::console::Console;
use crate::download::{Download, Milestones, Report};
use crate::group::Group;
use crate::health;
use crate::plan::Plan;
use crate::process::CannotStart;
use crate::signals::Signals;

/// How a server ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Running requests got their time.
    Drained,
    /// Ctrl-C while they had it cut them off.
    CutOff,
}

/// Why a server ended.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A child could not be started.
    #[error(transparent)]
    CannotStart(#[from] CannotStart),
    /// There is no model.
    #[error("{0}")]
    NoModel(String),
    /// A child ended by itself.
    #[error("{who} {how}{}", quoted(.last_words))]
    Died {
        /// The child.
        who: String,
        /// How it ended.
        how: String,
        /// What it said last.
        last_words: Vec<String>,
    },
    /// The system refused signals.
    #[error("cannot listen for signals: {0}")]
    Signals(#[from] std::io::Error),
}

impl Failure {
    /// What clients are told: the sentence without a child's last words.
    pub fn summary(&self) -> String {
        match self {
            Self::Died { who, how, .. } => format!("{who} {how}"),
            other => other.to_string(),
        }
    }
}

fn quoted(last_words: &[String]) -> String {
    match last_words {
        [] => ", without a word".to_owned(),
        lines => format!("; its last words:\n    {}", lines.join("\n    ")),
    }
}

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
    Ready,
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
}

impl Supervisor<'_> {
    /// Starts the shards, or what tells where their model is.
    fn start_model(&mut self) -> Result<(), Failure> {
        match (&self.circumstances.model_path, &self.plan.download) {
            (Some(path), _) => self.start_shards(path, None),
            (None, Some(spec)) => {
                self.download = Some(Download::start(spec, self.console)?);
                self.group.tell_phase("download", "looking for the model's files");
                Ok(())
            }
            (None, None) => Err(Failure::NoModel(
                "neither a model's path nor a download is planned".to_owned(),
            )),
        }
    }

    fn start_shards(&mut self, model_path: &Path, download: Option<Duration>) -> Result<(), Failure> {
        for spec in self.plan.shards(model_path, download) {
            self.group.add(&spec, self.console)?;
        }
        Ok(())
    }

    /// Returns the name of the signal that ends the server, or why it failed.
    async fn watch(&mut self, signals: &mut Signals) -> Result<&'static str, Failure> {
        let began = Instant::now();
        let mut milestones = Milestones::default();
        let mut ready = Box::pin(health::ready(&self.circumstances.health).fuse());
        loop {
            let event = tokio::select! {
                biased;
                name = signals.next() => Event::Signal(name),
                (index, status) = self.group.first_exit() => Event::Exited(index, status),
                report = next_report(&mut self.download) => Event::Download(report),
                () = &mut ready => Event::Ready,
            };
            match event {
                Event::Signal(name) => return Ok(name),
                Event::Exited(index, status) => return Err(self.group.epitaph(index, status).await),
                Event::Download(report) => self.on_report(report, &mut milestones)?,
                Event::Ready => self.on_ready(began.elapsed()),
            }
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
                self.start_shards(&path, Some(self.began.elapsed()))?;
            }
        }
        Ok(())
    }

    fn on_ready(&self, took: Duration) {
        let Circumstances { url, what, .. } = self.circumstances;
        tracing::info!("ready on {url} after {:.1} s: {what}", took.as_secs_f32());
        if let Some(hint) = &self.circumstances.hint {
            tracing::info!("{hint}");
        }
    }

    async fn end_download(&mut self) {
        self.console.end_progress();
        if let Some(mut download) = self.download.take() {
            download.stop().await;
        }
    }
}

async fn next_report(download: &mut Option<Download>) -> Report {
    match download {
        Some(download) => download.next().await,
        None => pending().await,
    }
}
