//! From what the shards offer and what the flags ask for to what the scheduler may use.

use shardline_scheduler::Config;

use crate::engine::api::EngineInfo;
use crate::engine::config::EngineConfig;
use crate::shard::GroupInfo;

/// How often a waiting sequence may be passed by a later one that fits.
const MAX_BYPASS: u32 = 16;

/// A flag that asks for more than the shards have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SizingError {
    /// More tokens a sequence than the model has positions for.
    #[error(
        "--max-total-tokens {asked} is more than the {limit} positions of the model; lower it or leave it out"
    )]
    Positions { asked: u32, limit: u32 },
    /// More tokens a sequence than the KV cache holds.
    #[error(
        "--max-total-tokens {asked} is more than the {limit} tokens that fit into the KV cache; lower it, \
         leave it out, or give the shards more memory"
    )]
    Cache { asked: u32, limit: u32 },
    /// No room for a generated token.
    #[error(
        "--max-input-tokens {asked} must be less than the {total} tokens of a sequence (--max-total-tokens)"
    )]
    Input { asked: u32, total: u32 },
    /// Nothing can be generated at all.
    #[error("a sequence may have {total} tokens only; at least 2 are needed for a prompt and an answer")]
    TooSmall { total: u32 },
}

/// What both sides come to.
pub(super) fn size(config: &EngineConfig, group: &GroupInfo) -> Result<(Config, EngineInfo), SizingError> {
    let kv_cache_tokens = group.num_blocks.saturating_mul(group.block_size);
    let capacity = kv_cache_tokens.min(config.max_batch_total_tokens.unwrap_or(u32::MAX));
    let max_total_tokens = match config.max_total_tokens {
        Some(asked) if asked > group.max_position => {
            return Err(SizingError::Positions {
                asked,
                limit: group.max_position,
            });
        }
        Some(asked) if asked > capacity => {
            return Err(SizingError::Cache {
                asked,
                limit: capacity,
            });
        }
        Some(asked) => asked,
        None => capacity.min(group.max_position),
    };
    if max_total_tokens < 2 {
        return Err(SizingError::TooSmall {
            total: max_total_tokens,
        });
    }
    let max_input_tokens = match config.max_input_tokens {
        Some(asked) if asked >= max_total_tokens => {
            return Err(SizingError::Input {
                asked,
                total: max_total_tokens,
            });
        }
        Some(asked) => asked,
        None => max_total_tokens - 1,
    };
    let step_tokens = config.max_batch_prefill_tokens.unwrap_or(group.max_step_tokens);
    let scheduler = Config {
        block_size: group.block_size,
        num_blocks: group.num_blocks,
        max_step_tokens: step_tokens.min(group.max_step_tokens),
        max_running: config.max_batch_size.unwrap_or(u32::MAX).min(group.max_sequences),
        max_waiting: config.max_concurrent_requests,
        max_sequence_tokens: max_total_tokens,
        max_total_tokens: config.max_batch_total_tokens,
        overlap_depth: config.overlap_depth,
        prefix_caching: config.prefix_caching,
        step_token_edges: group.step_token_edges.clone(),
        max_bypass: MAX_BYPASS,
    };
    let info = EngineInfo {
        model_type: group.model_type.clone(),
        dtype: group.dtype.clone(),
        device: group.device.clone(),
        vocab_size: group.vocab_size,
        max_total_tokens,
        max_input_tokens,
        max_step_tokens: scheduler.max_step_tokens,
        kv_cache_tokens,
        block_size: group.block_size,
        num_shard: group.world_size,
        attention_backend: group.attention_backend.clone(),
        max_top_logprobs: group.max_top_logprobs,
        features: group.features.clone(),
        start_ms: group.start_ms.clone(),
    };
    Ok((scheduler, info))
}

/// Whether a group that came back can go on where the lost one stopped: only the room for KV may
/// have changed.
pub(super) fn same_model(before: &GroupInfo, after: &GroupInfo) -> bool {
    let neutral = |info: &GroupInfo| GroupInfo {
        num_blocks: 0,
        device: String::new(),
        start_ms: Vec::new(),
        ..info.clone()
    };
    neutral(before) == neutral(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> GroupInfo {
        GroupInfo {
            model_type: "llama".to_owned(),
            dtype: "float32".to_owned(),
            device: "cpu".to_owned(),
            world_size: 1,
            vocab_size: 100,
            max_position: 2_048,
            block_size: 16,
            num_blocks: 64,
            max_step_tokens: 512,
            max_sequences: 32,
            step_token_edges: vec![64, 128],
            attention_backend: "torch".to_owned(),
            max_top_logprobs: 20,
            features: Vec::new(),
            start_ms: vec![("read".to_owned(), 250)],
        }
    }

    #[test]
    fn without_flags_the_shards_decide() {
        let (scheduler, info) = size(&EngineConfig::new("/run/shard", 1), &group()).unwrap();
        assert_eq!(
            (info.max_total_tokens, info.max_input_tokens, info.kv_cache_tokens),
            (1_024, 1_023, 1_024)
        );
        assert_eq!(
            (
                scheduler.max_step_tokens,
                scheduler.max_running,
                scheduler.max_waiting
            ),
            (512, 32, 128)
        );
        assert_eq!(scheduler.step_token_edges, [64, 128]);
    }

    #[test]
    fn flags_lower_the_limits() {
        let config = EngineConfig {
            max_total_tokens: Some(256),
            max_input_tokens: Some(100),
            max_batch_prefill_tokens: Some(64),
            max_batch_size: Some(4),
            ..EngineConfig::new("/run/shard", 1)
        };
        let (scheduler, info) = size(&config, &group()).unwrap();
        assert_eq!(
            (info.max_total_tokens, info.max_input_tokens, info.max_step_tokens),
            (256, 100, 64)
        );
        assert_eq!((scheduler.max_running, scheduler.max_sequence_tokens), (4, 256));
    }

    #[test]
    fn more_than_there_is_is_refused_with_the_limit() {
        let with = |change: fn(&mut EngineConfig)| {
            let mut config = EngineConfig::new("/run/shard", 1);
            change(&mut config);
            size(&config, &group()).unwrap_err()
        };
        let positions = with(|config| config.max_total_tokens = Some(4_096));
        assert_eq!(
            positions,
            SizingError::Positions {
                asked: 4_096,
                limit: 2_048
            }
        );
        let cache = with(|config| config.max_total_tokens = Some(2_000));
        assert_eq!(
            cache,
            SizingError::Cache {
                asked: 2_000,
                limit: 1_024
            }
        );
        let input = with(|config| config.max_input_tokens = Some(1_024));
        assert_eq!(
            input,
            SizingError::Input {
                asked: 1_024,
                total: 1_024
            }
        );
        let budget = with(|config| config.max_batch_total_tokens = Some(1));
        assert_eq!(budget, SizingError::TooSmall { total: 1 });
    }

    #[test]
    fn a_group_may_come_back_with_less_memory_but_not_as_another_model() {
        let smaller = GroupInfo {
            num_blocks: 10,
            start_ms: Vec::new(),
            ..group()
        };
        assert!(same_model(&group(), &smaller));
        assert!(!same_model(
            &group(),
            &GroupInfo {
                vocab_size: 101,
                ..group()
            }
        ));
    }
}
