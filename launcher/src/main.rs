//! `shardline-launcher`: one command that serves a model.

use std::process::ExitCode;

use shardline_launcher::app;

// One thread: the kernel kills a child when the thread that started it ends, so that must be the main one.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    app::main(std::env::args_os()).await
}
