//! The router as a process: what it says while it starts, and every way in which it ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail their test"
)]

mod ends;
mod router;
mod starts;
