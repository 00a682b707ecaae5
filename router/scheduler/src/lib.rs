//! The scheduler: which sequences advance by how many tokens and in which KV blocks.
//!
//! A value with a few verbs. It knows no I/O, clock, thread, log or random number: time is an
//! argument, and equal calls give equal answers.

pub mod ids;
pub mod plan;

pub use ids::*;
pub use plan::*;
