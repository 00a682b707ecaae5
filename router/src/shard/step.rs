//! Building one step for the wire.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use shardline_proto::arrays::{pack, pack_u32};
use shardline_proto::parts::split;
use shardline_proto::v1::{self, BlockTable, Rows, SamplingParameters, StepRequest};

use crate::shard::error::GroupError;
use crate::shard::grammar::Grammar;

/// A sequence the shards have not seen.
#[derive(Debug)]
pub struct NewSequence<'a, T, B> {
    /// Its id on the wire, new in the session.
    pub sequence: u64,
    /// Prompt, then tokens generated before.
    pub tokens: T,
    /// How many of them are prompt.
    pub num_prompt_tokens: u32,
    /// Leading tokens whose KV is there.
    pub num_cached_tokens: u32,
    /// The block table so far.
    pub blocks: B,
    /// With `choice` and the position it fixes every random number.
    pub seed: u64,
    /// Index among the choices of a request.
    pub choice: u32,
    /// How tokens are drawn.
    pub sampling: Sampling<'a>,
    /// What they must match.
    pub grammar: Option<Grammar<'a>>,
}

/// How tokens are drawn: the wire's parameters, with "off" written as the neutral value.
#[derive(Clone, Copy, Debug)]
pub struct Sampling<'a> {
    /// 0 is greedy.
    pub temperature: f32,
    /// 0 is off.
    pub top_k: u32,
    /// 1 is off.
    pub top_p: f32,
    /// 0 is off.
    pub min_p: f32,
    /// 1 is off.
    pub typical_p: f32,
    /// 1 is off.
    pub repetition_penalty: f32,
    /// 0 is off.
    pub frequency_penalty: f32,
    /// 0 is off.
    pub presence_penalty: f32,
    /// Return the sampled tokens' log-probabilities.
    pub logprobs: bool,
    /// And those of this many most likely ones.
    pub top_logprobs: u32,
    /// Return the prompt's log-probabilities and those of this many most likely ones.
    pub prompt_logprobs: Option<u32>,
    /// Generated tokens before which none of `stop_token_ids` is drawn.
    pub min_tokens: u32,
    /// See `min_tokens`.
    pub stop_token_ids: &'a [u32],
    /// Empty is all.
    pub allowed_token_ids: &'a [u32],
    /// Empty is off.
    pub logit_bias: &'a [(u32, f32)],
}

impl Sampling<'_> {
    /// A parameter at its default does not travel.
    fn to_wire(self) -> SamplingParameters {
        let unless = |value: f32, default: f32| (value.to_bits() != default.to_bits()).then_some(value);
        SamplingParameters {
            temperature: unless(self.temperature, 1.0),
            top_k: self.top_k,
            top_p: unless(self.top_p, 1.0),
            min_p: self.min_p,
            typical_p: unless(self.typical_p, 1.0),
            repetition_penalty: unless(self.repetition_penalty, 1.0),
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            logprobs: self.logprobs,
            top_logprobs: self.top_logprobs,
            prompt_logprobs: self.prompt_logprobs.is_some(),
            prompt_top_logprobs: self.prompt_logprobs.unwrap_or(0),
            min_tokens: self.min_tokens,
            stop_token_ids: pack_u32(self.stop_token_ids.iter().copied()),
            allowed_token_ids: pack_u32(self.allowed_token_ids.iter().copied()),
            logit_bias_ids: pack_u32(self.logit_bias.iter().map(|(id, _)| *id)),
            logit_bias_values: pack(self.logit_bias.iter().map(|(_, bias)| *bias)),
        }
    }
}

/// One step while it is put together. Rows go straight into packed arrays.
#[derive(Debug)]
pub struct StepBuilder {
    step: u64,
    num_tokens: u32,
    drop: BytesMut,
    new_sequences: Vec<v1::NewSequence>,
    sequence_ids: BytesMut,
    row_tokens: BytesMut,
    new_block_counts: BytesMut,
    new_blocks: BytesMut,
}

impl StepBuilder {
    /// An empty step with room for `rows` rows.
    #[must_use]
    pub fn new(step: u64, rows: usize) -> Self {
        Self {
            step,
            num_tokens: 0,
            drop: BytesMut::new(),
            new_sequences: Vec::new(),
            sequence_ids: BytesMut::with_capacity(rows * 8),
            row_tokens: BytesMut::with_capacity(rows * 4),
            new_block_counts: BytesMut::with_capacity(rows * 4),
            new_blocks: BytesMut::new(),
        }
    }

    /// The step's id.
    #[must_use]
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Tokens of all rows so far.
    #[must_use]
    pub fn num_tokens(&self) -> u32 {
        self.num_tokens
    }

    /// The shards forget a sequence.
    pub fn drop_sequence(&mut self, sequence: u64) {
        self.drop.put_u64_le(sequence);
    }

    /// The shards learn a sequence.
    pub fn new_sequence<T, B>(&mut self, new: NewSequence<'_, T, B>)
    where
        T: ExactSizeIterator<Item = u32>,
        B: ExactSizeIterator<Item = u32>,
    {
        self.new_sequences.push(v1::NewSequence {
            sequence_id: new.sequence,
            token_ids: pack_u32(new.tokens),
            num_prompt_tokens: new.num_prompt_tokens,
            num_cached_tokens: new.num_cached_tokens,
            seed: new.seed,
            choice: new.choice,
            sampling: Some(new.sampling.to_wire()),
            block_tables: vec![BlockTable {
                block_ids: pack_u32(new.blocks),
            }],
            grammar: new.grammar.map(Grammar::to_wire),
            adapter: None,
        });
    }

    /// A sequence advances by `num_tokens`, after `new_blocks` are appended to its table.
    pub fn row(&mut self, sequence: u64, num_tokens: u32, new_blocks: impl ExactSizeIterator<Item = u32>) {
        self.num_tokens += num_tokens;
        self.sequence_ids.put_u64_le(sequence);
        self.row_tokens.put_u32_le(num_tokens);
        self.new_block_counts.put_u32_le(new_blocks.len() as u32);
        for block in new_blocks {
            self.new_blocks.put_u32_le(block);
        }
    }

    /// Encodes the step once: its parts, each at most `limit` bytes.
    ///
    /// # Errors
    /// When something in it is larger than a message may be.
    pub(super) fn encode(self, session_epoch: u64, limit: usize) -> Result<Vec<Bytes>, GroupError> {
        let rows = Rows {
            sequence_ids: self.sequence_ids.freeze(),
            num_tokens: self.row_tokens.freeze(),
            new_block_counts: self.new_block_counts.freeze(),
            new_blocks: self.new_blocks.freeze(),
            num_draft_tokens: Bytes::new(),
        };
        let request = StepRequest {
            step_id: self.step,
            session_epoch,
            drop: self.drop.freeze(),
            new_sequences: self.new_sequences,
            rows: Some(rows),
            commands: Vec::new(),
            more: false,
        };
        let parts = split(request, limit).map_err(GroupError::TooLarge)?;
        Ok(parts
            .iter()
            .map(|part| Bytes::from(part.encode_to_vec()))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling() -> Sampling<'static> {
        Sampling {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logprobs: false,
            top_logprobs: 0,
            prompt_logprobs: None,
            min_tokens: 0,
            stop_token_ids: &[],
            allowed_token_ids: &[],
            logit_bias: &[],
        }
    }

    #[test]
    fn neutral_parameters_do_not_travel_and_greedy_does() {
        assert_eq!(sampling().to_wire(), SamplingParameters::default());
        let greedy = Sampling {
            temperature: 0.0,
            ..sampling()
        }
        .to_wire();
        assert_eq!(greedy.temperature, Some(0.0));
    }

    #[test]
    fn a_step_reads_as_it_was_built() {
        let mut builder = StepBuilder::new(4, 2);
        builder.drop_sequence(3);
        builder.new_sequence(NewSequence {
            sequence: 9,
            tokens: [1, 2, 3].into_iter(),
            num_prompt_tokens: 2,
            num_cached_tokens: 0,
            blocks: [5].into_iter(),
            seed: 7,
            choice: 1,
            sampling: sampling(),
            grammar: Some(Grammar::Regex("a+")),
        });
        builder.row(8, 1, std::iter::empty());
        builder.row(9, 3, [6, 7].into_iter());
        assert_eq!((builder.step(), builder.num_tokens()), (4, 4));
        let parts = builder.encode(11, shardline_proto::MAX_MESSAGE_BYTES).unwrap();
        let step = StepRequest::decode(parts[0].clone()).unwrap();
        assert_eq!((parts.len(), step.step_id, step.session_epoch), (1, 4, 11));
        let rows = step.rows.unwrap();
        assert_eq!(rows.sequence_ids, pack([8_u64, 9].into_iter()));
        assert_eq!(rows.num_tokens, pack([1_i32, 3].into_iter()));
        assert_eq!(rows.new_block_counts, pack([0_i32, 2].into_iter()));
        assert_eq!(rows.new_blocks, pack([6_i32, 7].into_iter()));
        let grammar = step.new_sequences[0].grammar.clone().unwrap();
        assert_eq!(grammar, Grammar::Regex("a+").to_wire());
        assert_eq!(
            step.new_sequences[0].block_tables[0].block_ids,
            pack([5_i32].into_iter())
        );
    }
}
