//! What a mock shard pretends to be.

use std::path::PathBuf;
use std::time::Duration;

use shardline_proto::v1::Phase;

use crate::tokens::{EndOfText, TokenSource};

/// Everything a mock shard is told at its start.
#[derive(Clone, Debug)]
pub struct MockOptions {
    /// The socket is `PREFIX-RANK`.
    pub shard_uds_path: PathBuf,
    /// This rank; rank 0 returns tokens.
    pub rank: u32,
    /// Ranks in the group.
    pub world_size: u32,
    /// Token ids are in `[0, vocab_size)`.
    pub vocab_size: u32,
    /// Longest sequence, in tokens.
    pub max_position: u32,
    /// Tokens a block.
    pub block_size: u32,
    /// Blocks of the pretended KV cache.
    pub num_blocks: u32,
    /// Most tokens a step may run.
    pub max_step_tokens: u32,
    /// Most sequences that live at once.
    pub max_sequences: u32,
    /// Step sizes that `Info` recommends, ascending.
    pub step_token_edges: Vec<u32>,
    /// Most `top_logprobs`.
    pub max_top_logprobs: u32,
    /// Where tokens come from.
    pub tokens: TokenSource,
    /// When a sequence ends by itself.
    pub end_of_text: Option<EndOfText>,
    /// How long a step takes.
    pub latency: Latency,
    /// What `Health` says before it says ready.
    pub start_phases: Vec<StartPhase>,
    /// What goes wrong.
    pub faults: Faults,
}

impl MockOptions {
    /// A small, fast, faultless shard, alone in its group.
    #[must_use]
    pub fn new(shard_uds_path: impl Into<PathBuf>) -> Self {
        Self {
            shard_uds_path: shard_uds_path.into(),
            rank: 0,
            world_size: 1,
            vocab_size: 32_000,
            max_position: 8_192,
            block_size: 16,
            num_blocks: 4_096,
            max_step_tokens: 4_096,
            max_sequences: 1_024,
            step_token_edges: Vec::new(),
            max_top_logprobs: 20,
            tokens: TokenSource::Hash,
            end_of_text: None,
            latency: Latency::default(),
            start_phases: Vec::new(),
            faults: Faults::default(),
        }
    }

    /// The socket this shard listens on.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        let mut path = self.shard_uds_path.clone().into_os_string();
        path.push(format!("-{}", self.rank));
        PathBuf::from(path)
    }
}

/// A step takes `base` and `per_token` for each of its tokens.
#[derive(Clone, Copy, Debug, Default)]
pub struct Latency {
    /// For the step as such.
    pub base: Duration,
    /// For each token it runs.
    pub per_token: Duration,
}

impl Latency {
    /// Time that a step of `tokens` tokens takes.
    #[must_use]
    pub fn of(&self, tokens: u32) -> Duration {
        self.base + self.per_token * tokens
    }
}

/// A phase of the start and how long it lasts.
#[derive(Clone, Debug)]
pub struct StartPhase {
    /// Which phase.
    pub phase: Phase,
    /// What `Health` says about it.
    pub message: String,
    /// How long it lasts. `PHASE_FAILED` lasts for ever.
    pub lasts: Duration,
}

/// What goes wrong, and when. Steps are counted within a session.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The process is gone (no goodbye) when this step arrives.
    pub die_at_step: Option<u64>,
    /// No outcome is sent from this step on.
    pub silent_from_step: Option<u64>,
    /// The answer to this step carries another step's id.
    pub wrong_id_at_step: Option<u64>,
    /// A sequence whose prompt holds this token has no usable logits.
    pub nan_token: Option<u32>,
}
