//! The HTTP side in one process with the engine and a mock shard: what clients see.

mod answers;
mod errors;
mod lifecycle;
mod native;
mod pages;
mod streams;
mod support;
mod transport;
