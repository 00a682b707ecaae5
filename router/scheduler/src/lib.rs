//! The scheduler: which sequences advance by how many tokens and in which KV blocks.
//!
//! A value with a few verbs. It knows no I/O, clock, thread, log or random number: time is an
//! argument, and equal calls give equal answers.

mod admission;
mod applying;
mod blocks;
mod error;
mod estimate;
pub mod ids;
mod in_flight;
mod invariants;
mod kv;
pub mod plan;
mod planning;
mod prefix;
mod queue;
mod scheduler;
mod sequence;
mod tenants;

pub use error::{InvariantViolation, ProtocolError};
pub use ids::*;
pub use plan::*;
pub use scheduler::Scheduler;
