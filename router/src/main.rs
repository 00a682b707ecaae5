//! `shardline-router`: reads its settings, starts its log, runs.

use std::process::ExitCode;

use clap::Parser;
use shardline_router::config::{Flags, RouterConfig};
use shardline_router::{process, telemetry};

/// Gives back to the system what a flood of connections needed (docs/adr/0023).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Exit code of a start that was refused.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let config = match RouterConfig::new(Flags::parse()) {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(USAGE);
        }
    };
    telemetry::start(&config.log);
    tracing::debug!(?config, "settings");
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the system gives no threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(process::run(config));
    // What still runs (a tokenizer being read) has nobody left to serve.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}
