//! The engine against mock shards in this process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail their test"
)]

mod basics;
mod failures;
mod overlap;
mod refusals;
mod replaced;
mod support;
