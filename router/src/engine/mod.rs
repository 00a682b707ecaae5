//! The engine: a handle in front of one actor that owns the scheduler and talks to the shard group.

pub mod api;
mod cancel;
mod generation;
mod handle;
mod outbox;

pub use generation::Generation;
pub use handle::EngineHandle;
