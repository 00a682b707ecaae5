//! The one way to the terminal: lines of the log and a progress bar that do not tear each other.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value};
use tracing_subscriber::fmt::MakeWriter;

use crate::download::Progress;
use crate::plan::Role;

/// Where the log goes; cheap to clone.
#[derive(Clone, Debug)]
pub struct Console {
    json: bool,
    has_bar: bool,
    bar: Arc<Mutex<Option<ProgressBar>>>,
}

impl Console {
    /// The process's standard output.
    pub fn new(json: bool) -> Self {
        let has_bar = !json && io::stdout().is_terminal() && io::stderr().is_terminal();
        Self {
            json,
            has_bar,
            bar: Arc::default(),
        }
    }

    /// Passes a child's line on, with its name.
    pub fn relay(&self, role: Role, line: &str) {
        if !self.json {
            return self.print(format!("{role} | {line}\n").as_bytes());
        }
        match serde_json::from_str::<Map<String, Value>>(line) {
            Ok(mut event) => {
                event.insert("process".to_owned(), role.to_string().into());
                self.print(format!("{}\n", Value::Object(event)).as_bytes());
            }
            Err(_) => tracing::info!(process = %role, "{line}"),
        }
    }

    /// Shows how far a download is: a bar on a terminal, else a line of the log where `is_milestone`.
    pub fn progress(&self, progress: &Progress, is_milestone: bool) {
        if !self.has_bar {
            if is_milestone {
                tracing::info!("{progress}");
            }
            return;
        }
        let mut bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = bar.get_or_insert_with(new_bar);
        bar.set_length(progress.total_bytes);
        bar.set_position(progress.done_bytes);
        bar.set_message(format!("{} of {} files", progress.files_done, progress.files));
    }

    /// Takes the bar away.
    pub fn end_progress(&self) {
        if let Some(bar) = self.bar.lock().unwrap_or_else(PoisonError::into_inner).take() {
            bar.finish_and_clear();
        }
    }

    fn print(&self, bytes: &[u8]) {
        let bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        let print = || {
            // A reader of the log that went away must not stop the server.
            let mut out = io::stdout().lock();
            let _ = out.write_all(bytes).and_then(|()| out.flush());
        };
        match &*bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }
}

fn new_bar() -> ProgressBar {
    let template = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style)
}

/// One event of the log, printed whole.
#[derive(Debug)]
pub struct EventWriter(Console);

impl Write for EventWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.print(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Console {
    type Writer = EventWriter;

    fn make_writer(&self) -> EventWriter {
        EventWriter(self.clone())
    }
}
