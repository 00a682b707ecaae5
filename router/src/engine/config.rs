//! What the engine is told at its start.

use std::path::PathBuf;
use std::time::Duration;

/// The engine's share of the router's settings. Limits that are `None` follow from the shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// Sockets of the shards are `PREFIX-RANK`.
    pub shard_uds_path: PathBuf,
    /// Shards in the group, at least one.
    pub num_shard: u32,
    /// Most sequences that run and wait together.
    pub max_concurrent_requests: u32,
    /// Most prompt tokens of a sequence.
    pub max_input_tokens: Option<u32>,
    /// Most tokens, prompt and generated, of a sequence.
    pub max_total_tokens: Option<u32>,
    /// Most tokens a step may run.
    pub max_batch_prefill_tokens: Option<u32>,
    /// Most tokens of KV that all running sequences may hold.
    pub max_batch_total_tokens: Option<u32>,
    /// Most sequences that run at once.
    pub max_batch_size: Option<u32>,
    /// Whether full KV blocks are kept for later requests with the same beginning.
    pub prefix_caching: bool,
    /// Most steps that are out at the same time; 1 is no overlap.
    pub overlap_depth: u32,
    /// How long a lost shard group is awaited before its streams end or, where it is supervised, before
    /// new shards are asked for.
    pub recovery_grace: Duration,
    /// Whether a launcher replaces lost shards, or says that it does not.
    pub supervised: bool,
    /// How long a step may take before its group counts as lost.
    pub step_timeout: Duration,
}

impl EngineConfig {
    /// The defaults, for a group of `num_shard` at sockets `PREFIX-RANK`.
    #[must_use]
    pub fn new(shard_uds_path: impl Into<PathBuf>, num_shard: u32) -> Self {
        Self {
            shard_uds_path: shard_uds_path.into(),
            num_shard,
            max_concurrent_requests: 128,
            max_input_tokens: None,
            max_total_tokens: None,
            max_batch_prefill_tokens: None,
            max_batch_total_tokens: None,
            max_batch_size: None,
            prefix_caching: true,
            overlap_depth: 2,
            recovery_grace: Duration::from_secs(60),
            supervised: false,
            step_timeout: Duration::from_secs(600),
        }
    }
}
