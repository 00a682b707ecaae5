//! The launcher's own log lines.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::console::Console;

/// Sends the process's events to the console. `filter` was checked with the other settings.
pub fn start(console: &Console, filter: &str, json: bool) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::builder().parse_lossy(filter))
        .with_writer(console.clone())
        .with_ansi(std::io::stdout().is_terminal())
        .with_target(false);
    // Another subscriber can only be there in a test; then its lines go where it says.
    let _ = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.try_init()
    };
}
