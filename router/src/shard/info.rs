//! What the group serves, after all ranks agree on it.

use shardline_proto::arrays::View;
use shardline_proto::v1::{InfoResponse, KvGroup};

use crate::shard::error::GroupError;

/// What a group of shards serves together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupInfo {
    /// "llama", "qwen2", …
    pub model_type: String,
    /// "float32", …
    pub dtype: String,
    /// Of rank 0.
    pub device: String,
    /// Ranks.
    pub world_size: u32,
    /// Token ids are in `[0, vocab_size)`.
    pub vocab_size: u32,
    /// Longest sequence, in tokens.
    pub max_position: u32,
    /// Tokens a KV block.
    pub block_size: u32,
    /// Of the rank that has the fewest.
    pub num_blocks: u32,
    /// Most tokens a step may run.
    pub max_step_tokens: u32,
    /// Most sequences that live at once.
    pub max_sequences: u32,
    /// Step sizes to fill up to, ascending.
    pub step_token_edges: Vec<u32>,
    /// Attention backend's name.
    pub attention_backend: String,
    /// Most `top_logprobs`.
    pub max_top_logprobs: u32,
    /// Optional abilities that every rank has.
    pub features: Vec<String>,
    /// Phases of the first rank's start: name and milliseconds.
    pub start_ms: Vec<(String, u32)>,
}

impl GroupInfo {
    /// Joins what the ranks say, in the order of their ranks.
    ///
    /// # Errors
    /// When there is none, they disagree, or offer what this router cannot use.
    pub fn join(infos: &[InfoResponse]) -> Result<Self, GroupError> {
        let Some(first) = infos.first() else {
            return Err(GroupError::Unusable("the group has no shard".to_owned()));
        };
        let group = kv_group(first)?;
        let mut joined = Self {
            model_type: first.model_type.clone(),
            dtype: first.dtype.clone(),
            device: first.device.clone(),
            world_size: infos.len() as u32,
            vocab_size: first.vocab_size,
            max_position: first.max_position,
            block_size: group.block_size,
            num_blocks: group.num_blocks,
            max_step_tokens: first.max_step_tokens,
            max_sequences: first.max_sequences,
            step_token_edges: edges(first)?,
            attention_backend: first.attention_backend.clone(),
            max_top_logprobs: first.max_top_logprobs,
            features: first.features.clone(),
            start_ms: start_ms(first),
        };
        for (rank, info) in infos.iter().enumerate() {
            joined.join_rank(rank as u32, info)?;
        }
        joined.check()?;
        Ok(joined)
    }

    fn join_rank(&mut self, rank: u32, info: &InfoResponse) -> Result<(), GroupError> {
        let group = kv_group(info)?;
        agree(rank, "rank", &rank, &info.rank)?;
        agree(rank, "world size", &self.world_size, &info.world_size)?;
        agree(rank, "model type", &self.model_type, &info.model_type)?;
        agree(rank, "dtype", &self.dtype, &info.dtype)?;
        agree(rank, "vocabulary size", &self.vocab_size, &info.vocab_size)?;
        agree(rank, "longest position", &self.max_position, &info.max_position)?;
        agree(rank, "KV block size", &self.block_size, &group.block_size)?;
        agree(
            rank,
            "attention backend",
            &self.attention_backend,
            &info.attention_backend,
        )?;
        self.num_blocks = self.num_blocks.min(group.num_blocks);
        self.max_step_tokens = self.max_step_tokens.min(info.max_step_tokens);
        self.max_sequences = self.max_sequences.min(info.max_sequences);
        self.max_top_logprobs = self.max_top_logprobs.min(info.max_top_logprobs);
        self.features.retain(|feature| info.features.contains(feature));
        Ok(())
    }

    fn check(&self) -> Result<(), GroupError> {
        let positive = [
            ("vocabulary size", self.vocab_size),
            ("longest position", self.max_position),
            ("KV block size", self.block_size),
            ("number of KV blocks", self.num_blocks),
            ("tokens of a step", self.max_step_tokens),
            ("number of sequences", self.max_sequences),
        ];
        match positive.iter().find(|(_, value)| *value == 0) {
            Some((name, _)) => Err(GroupError::Unusable(format!("their {name} is 0"))),
            None => Ok(()),
        }
    }
}

fn start_ms(info: &InfoResponse) -> Vec<(String, u32)> {
    let phases = info.start.iter().flat_map(|start| &start.phases);
    phases
        .map(|phase| (phase.name.clone(), (phase.seconds * 1e3) as u32))
        .collect()
}

fn kv_group(info: &InfoResponse) -> Result<&KvGroup, GroupError> {
    match &info.kv_groups[..] {
        [group] => Ok(group),
        groups => Err(GroupError::Unusable(format!(
            "shard {} has {} KV groups, not one",
            info.rank,
            groups.len()
        ))),
    }
}

fn edges(info: &InfoResponse) -> Result<Vec<u32>, GroupError> {
    View::<i32>::new("step_token_edges", &info.step_token_edges)
        .and_then(|view| view.counts())
        .map_err(|error| GroupError::Malformed {
            rank: info.rank,
            error,
        })
}

fn agree<T: PartialEq + ToString>(
    rank: u32,
    field: &'static str,
    ours: &T,
    theirs: &T,
) -> Result<(), GroupError> {
    if ours == theirs {
        return Ok(());
    }
    Err(GroupError::Disagrees {
        rank,
        field,
        ours: ours.to_string(),
        theirs: theirs.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(rank: u32, num_blocks: u32) -> InfoResponse {
        InfoResponse {
            model_type: "llama".to_owned(),
            dtype: "float32".to_owned(),
            rank,
            world_size: 2,
            vocab_size: 100,
            max_position: 50,
            kv_groups: vec![KvGroup {
                block_size: 16,
                num_blocks,
                bytes_per_block: 1,
            }],
            max_step_tokens: 64,
            max_sequences: 8,
            features: vec!["prompt_logprobs".to_owned(), "grammar".to_owned()],
            ..InfoResponse::default()
        }
    }

    #[test]
    fn the_smallest_cache_and_the_common_features_count() {
        let fewer = InfoResponse {
            features: vec!["grammar".to_owned()],
            ..info(1, 7)
        };
        let joined = GroupInfo::join(&[info(0, 9), fewer]).unwrap();
        assert_eq!((joined.num_blocks, joined.world_size), (7, 2));
        assert_eq!(joined.features, ["grammar"]);
    }

    #[test]
    fn a_rank_that_serves_another_model_is_named() {
        let other = InfoResponse {
            dtype: "bfloat16".to_owned(),
            ..info(1, 9)
        };
        let error = GroupInfo::join(&[info(0, 9), other]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "shard 1 has dtype bfloat16 where the group has float32; start all shards with the same settings"
        );
        assert!(!error.may_pass());
    }

    #[test]
    fn two_processes_of_the_same_rank_are_refused() {
        let error = GroupInfo::join(&[info(0, 9), info(0, 9)]).unwrap_err();
        assert!(matches!(
            error,
            GroupError::Disagrees {
                rank: 1,
                field: "rank",
                ..
            }
        ));
    }

    #[test]
    fn a_group_without_blocks_or_with_two_kinds_of_them_is_unusable() {
        let one = |info: InfoResponse| {
            GroupInfo::join(&[InfoResponse {
                world_size: 1,
                ..info
            }])
        };
        assert!(matches!(one(info(0, 0)), Err(GroupError::Unusable(_))));
        let two = InfoResponse {
            kv_groups: vec![KvGroup::default(); 2],
            ..info(0, 9)
        };
        assert!(matches!(one(two), Err(GroupError::Unusable(_))));
    }
}
