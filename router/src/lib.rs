//! The router: HTTP in front, the engine behind it.

pub mod access;
pub mod config;
pub mod control;
pub mod engine;
pub mod histogram;
pub mod http;
pub mod process;
pub mod reload;
pub mod session;
pub mod shard;
pub mod telemetry;
