//! The engine: a handle in front of one actor that owns the scheduler and talks to the shard group.

mod actor;
pub mod api;
mod cancel;
mod config;
mod core;
mod generation;
mod grammars;
mod handle;
mod living;
mod outbox;
mod patience;
mod prompt;
mod sizing;
mod start;

pub use config::EngineConfig;
pub use generation::Generation;
pub use handle::EngineHandle;
pub use start::start;
