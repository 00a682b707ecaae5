//! The router: HTTP in front, the engine behind it.

pub mod config;
pub mod control;
pub mod engine;
pub mod shard;
pub mod telemetry;
