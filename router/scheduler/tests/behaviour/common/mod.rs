//! A scheduler, a shard that believes nothing, and a client that counts.

pub mod shard;
pub mod world;

use std::sync::Arc;

use shardline_scheduler::{Config, RequestId, Submission, TenantId, TokenId};

/// Blocks of 2 tokens, 8 of them, no overlap, cache on.
pub fn small() -> Config {
    Config {
        block_size: 2,
        num_blocks: 8,
        max_step_tokens: 16,
        max_running: 8,
        max_waiting: 64,
        max_sequence_tokens: 64,
        max_total_tokens: None,
        overlap_depth: 1,
        prefix_caching: true,
        step_token_edges: Vec::new(),
        max_bypass: 4,
    }
}

/// A submission without stop tokens.
pub fn request(id: u64, prompt: &[u32], max_new_tokens: u32) -> Submission {
    Submission {
        request: RequestId(id),
        tokens: tokens(prompt),
        num_prompt_tokens: prompt.len() as u32,
        max_new_tokens,
        min_new_tokens: 0,
        stop_token_ids: Arc::from([]),
        cache_salt: 0,
        use_prefix_cache: true,
        tenant: TenantId(0),
        priority: 0,
        deadline: None,
    }
}

/// Token ids from numbers.
pub fn tokens(values: &[u32]) -> Arc<[TokenId]> {
    values.iter().copied().map(TokenId).collect()
}

/// A prompt of `length` tokens that begins like no other of another `seed`.
pub fn prompt(seed: u32, length: u32) -> Vec<u32> {
    (0..length).map(|index| 1000 * seed + index).collect()
}
