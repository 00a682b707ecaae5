//! The HTTP side in one process with the engine and a mock shard: what clients see.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail their test"
)]

mod access;
mod answers;
mod clouds;
mod damaged;
mod differential;
mod document;
mod errors;
mod fields;
mod gaps;
mod held;
mod interfaces;
mod lifecycle;
mod logs;
mod messages;
mod native;
mod pages;
mod playground;
mod prompts;
mod responses;
mod streams;
mod support;
mod tls;
mod tokens;
mod tools;
mod transport;
mod wishes;
