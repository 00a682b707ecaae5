//! What the scheduler promises, one file a subject. One program, so that it links once.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod common;
mod memory;
mod model;
mod overlap;
mod planning;
mod prefix;
mod protocol;
mod purity;
mod queueing;
