//! The wire between router and shard: generated messages, client and server of
//! `shardline/v1/shard.proto`, and the conversions both ends share.

pub mod arrays;
pub mod parts;

pub use parts::MAX_MESSAGE_BYTES;

/// The generated messages and services of package `shardline.v1`.
#[allow(missing_docs, clippy::all, clippy::expect_used, clippy::unwrap_used)]
pub mod v1 {
    tonic::include_proto!("shardline.v1");
}
