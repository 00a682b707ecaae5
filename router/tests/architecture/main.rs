//! Fails when an arrow between crates or modules points the wrong way (see ARCHITECTURE.md).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail their test"
)]

mod crates;
mod modules;
mod source;
