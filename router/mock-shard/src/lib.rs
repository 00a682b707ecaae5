//! A shard without a model, for tests and load: it speaks the whole `Shard` service, draws tokens
//! from a pure function of the tokens before, and refuses whatever the wire does not allow.
//!
//! The tokens of a sequence do not depend on batch, chunking, preemption or replay, so a test
//! compares a disturbed run with an undisturbed one. Every block remembers which tokens it holds,
//! so a wrong block table or a false prefix-cache hit is found at the step that brings it.

pub mod batch;
pub mod blocks;
mod grammar;
pub mod journal;
pub mod options;
pub mod server;
mod service;
pub mod session;
pub mod tokens;

pub use journal::{Gate, Journal};
pub use options::{Faults, Latency, MockOptions, StartPhase};
pub use server::MockShard;
pub use tokens::{EndOfText, TokenSource};
