//! The scheduler: which sequences advance by how many tokens and in which KV blocks.
//!
//! A value with a few verbs. It knows no I/O, clock, thread, log or random number: time is an
//! argument, and equal calls give equal answers.
//!
//! | rule | module |
//! |---|---|
//! | token budget, decode before prefill, preemption, tile edges | `planning` |
//! | how much prefill goes beside decode rows | `pacing` |
//! | when the next step is planned | `planning_time` |
//! | who enters the batch, prefix hits, bounded bypass | `admission` |
//! | tokens, stop, length, failure, filling the prefix cache | `applying` |
//! | submission, cancellation, deadline, reset, when blocks come free | `scheduler` |
//! | phases of a sequence | `sequence` |
//! | order of those who wait; shares between tenants | `queue`, `tenants` |
//! | blocks, their references and contents | `kv` over `blocks` and `prefix` |
//! | what an outcome may say | `in_flight` |
//! | what must always hold | `invariants` |

mod admission;
mod applying;
mod blocks;
mod error;
mod estimate;
pub mod ids;
mod in_flight;
mod invariants;
mod kv;
mod pacing;
pub mod plan;
mod planning;
mod planning_time;
mod prefix;
mod queue;
mod scheduler;
mod sequence;
mod tenants;

pub use error::{InvariantViolation, ProtocolError};
pub use ids::*;
pub use plan::*;
pub use planning_time::PlanningTime;
pub use scheduler::Scheduler;
