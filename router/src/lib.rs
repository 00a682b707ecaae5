//! The router: HTTP in front, the engine behind it.

pub mod engine;
pub mod shard;
