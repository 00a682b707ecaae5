//! Where log lines go: standard output, for people or as JSON.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::config::LogConfig;

/// Sends the process's events to standard output. The filter was checked with the other settings.
pub fn start(log: &LogConfig) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::builder().parse_lossy(&log.level))
        .with_ansi(io::stdout().is_terminal())
        .with_target(false);
    // Another subscriber can only be there in a test; then its lines go where it says.
    let _ = if log.json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.try_init()
    };
}
