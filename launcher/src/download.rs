//! Runs `shardline-server download` and reads what it says, one JSON object a line.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitStatus;

use serde::Deserialize;
use tokio::process::ChildStdout;

use crate::console::Console;
use crate::lines::Lines;
use crate::plan::{ProcessSpec, Role};
use crate::process::{CannotStart, Process, STOP_PATIENCE, describe_end};

/// How far a download is.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are here.
    pub done_bytes: u64,
    /// Bytes of all files.
    pub total_bytes: u64,
    /// Files that are here.
    pub files_done: u64,
    /// Files in all.
    pub files: u64,
}

impl fmt::Display for Progress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = indicatif::HumanBytes(self.done_bytes);
        let total = indicatif::HumanBytes(self.total_bytes);
        write!(
            out,
            "downloaded {done} of {total}, {} of {} files",
            self.files_done, self.files
        )
    }
}

impl Progress {
    /// Hundredths that are done, 100 when there is nothing to do.
    pub fn percent(&self) -> u64 {
        (self.done_bytes.saturating_mul(100))
            .checked_div(self.total_bytes)
            .unwrap_or(100)
    }
}

/// One line of the protocol.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// How far it is.
    Progress(Progress),
    /// Something a person should know.
    Warning(String),
    /// The end: where the model is.
    ModelPath(PathBuf),
    /// The end: why there is none.
    Error(String),
}

/// A running download.
#[derive(Debug)]
pub struct Download {
    process: Process,
    lines: Option<Lines<ChildStdout>>,
    end: Option<Report>,
    console: Console,
}

impl Download {
    /// Starts it.
    pub fn start(spec: &ProcessSpec, console: &Console) -> Result<Self, CannotStart> {
        let mut process = Process::start_quiet(spec, console)?;
        let lines = process.take_stdout().map(Lines::of);
        Ok(Self {
            process,
            lines,
            end: None,
            console: console.clone(),
        })
    }

    /// The next report. [`Report::ModelPath`] or [`Report::Error`] is the last one, and comes when
    /// the process has ended. May be dropped and called again.
    pub async fn next(&mut self) -> Report {
        while let Some(lines) = &mut self.lines {
            let Some(line) = lines.next().await else {
                self.lines = None;
                break;
            };
            match serde_json::from_str(&line) {
                Ok(report @ (Report::Progress(_) | Report::Warning(_))) => return report,
                Ok(end @ (Report::ModelPath(_) | Report::Error(_))) => self.end = Some(end),
                Err(_) => self.console.relay(Role::Download, &line),
            }
        }
        let status = self.process.wait().await;
        match self.end.take() {
            Some(Report::ModelPath(path)) if status.success() => Report::ModelPath(path),
            Some(Report::Error(sentence)) => Report::Error(sentence),
            _ => Report::Error(self.unexplained(status).await),
        }
    }

    async fn unexplained(&mut self, status: ExitStatus) -> String {
        let last_words = self.process.last_words().await;
        format!(
            "the download {} and told no path; its last words: {}",
            describe_end(status),
            last_words.join(" / ")
        )
    }

    /// Ends it; whole files stay on the disk for the next time.
    pub async fn stop(&mut self) {
        self.process.stop(STOP_PATIENCE).await;
    }
}

/// Says when a progress report is worth a line of the log: at every tenth of the bytes.
#[derive(Debug, Default)]
pub struct Milestones {
    last_tenth: Option<u64>,
}

impl Milestones {
    /// Whether this report passes the next tenth.
    pub fn passes(&mut self, progress: &Progress) -> bool {
        let tenth = progress.percent() / 10;
        let passed = self.last_tenth.is_none_or(|last| tenth > last);
        if passed {
            self.last_tenth = Some(tenth);
        }
        passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_protocol() {
        let read = |line| serde_json::from_str::<Report>(line).unwrap();
        assert_eq!(
            read(r#"{"progress":{"done_bytes":1,"total_bytes":4,"files_done":0,"files":2}}"#),
            Report::Progress(Progress {
                done_bytes: 1,
                total_bytes: 4,
                files_done: 0,
                files: 2
            })
        );
        assert_eq!(read(r#"{"warning":"w"}"#), Report::Warning("w".to_owned()));
        assert_eq!(read(r#"{"model_path":"/m"}"#), Report::ModelPath("/m".into()));
        assert_eq!(read(r#"{"error":"e"}"#), Report::Error("e".to_owned()));
    }

    #[test]
    fn a_line_of_the_log_every_tenth() {
        let mut milestones = Milestones::default();
        let mut logged = Vec::new();
        for done_bytes in [0, 5, 9, 10, 11, 35, 39, 100, 100] {
            let progress = Progress {
                done_bytes,
                total_bytes: 100,
                files_done: 0,
                files: 1,
            };
            if milestones.passes(&progress) {
                logged.push(done_bytes);
            }
        }
        assert_eq!(logged, [0, 10, 35, 100]);
    }

    #[test]
    fn nothing_to_download_is_all_of_it() {
        assert_eq!(Progress::default().percent(), 100);
    }
}
