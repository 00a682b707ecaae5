//! The engine: a handle in front of one actor that owns the scheduler and talks to the shard group.

pub mod api;
