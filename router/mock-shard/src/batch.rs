//! The living sequences, and what one row does to one of them.

use std::collections::{HashMap, HashSet};

use shardline_proto::arrays::View;
use shardline_proto::v1::{NewSequence, SamplingParameters};

use crate::blocks::{Blocks, Violation, refuse};
use crate::options::MockOptions;
use crate::tokens::{Chain, Draw, token};

/// A sequence as a shard knows it.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// Its id on the wire.
    pub id: u64,
    /// Given tokens, then sampled ones.
    pub tokens: Vec<u32>,
    /// How many of them are prompt.
    pub num_prompt_tokens: u32,
    /// How many of them have KV.
    pub computed: u32,
    /// How many of them were given.
    pub given: u32,
    /// Over `tokens[..computed]`.
    chain: Chain,
    blocks: Vec<u32>,
    seed: u64,
    choice: u32,
    /// How its tokens are drawn, and what comes back beside them.
    pub sampling: SamplingParameters,
    poisoned: bool,
    /// The step of its last row.
    ran_at: u64,
}

impl Sequence {
    /// Whether it has sampled: its next row decodes.
    #[must_use]
    pub fn decodes(&self) -> bool {
        self.tokens.len() > self.given as usize
    }

    /// What determines its next token.
    #[must_use]
    pub fn draw(&self) -> Draw<'_> {
        let position = self.tokens.len() as u32;
        let generated = position - self.num_prompt_tokens;
        Draw {
            prompt: &self.tokens[..self.num_prompt_tokens as usize],
            before: self.chain,
            seed: self.seed,
            choice: self.choice,
            position,
            generated,
        }
    }
}

/// What a row came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowResult {
    /// A chunk of prefill that did not reach the last known token.
    Computed,
    /// One token, which the sequence now holds.
    Sampled(u32),
    /// No usable logits.
    InvalidLogits,
}

/// All living sequences and their blocks.
#[derive(Debug)]
pub struct Batch {
    sequences: HashMap<u64, Sequence>,
    blocks: Blocks,
    used_ids: HashSet<u64>,
    step: u64,
}

impl Batch {
    /// No sequence, an empty cache.
    #[must_use]
    pub fn new(options: &MockOptions) -> Self {
        Self {
            sequences: HashMap::new(),
            blocks: Blocks::new(options.block_size, options.num_blocks),
            used_ids: HashSet::new(),
            step: 0,
        }
    }

    /// A step begins: every sequence may have one row in it.
    pub fn begin_step(&mut self) {
        self.step += 1;
    }

    /// Living sequences.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sequences.len()
    }

    /// Whether none lives.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    /// Blocks that a living sequence uses.
    #[must_use]
    pub fn blocks_in_use(&self) -> u32 {
        self.blocks.in_use()
    }

    /// The sequence of that id.
    ///
    /// # Errors
    /// When none lives.
    pub fn get(&self, id: u64) -> Result<&Sequence, Violation> {
        match self.sequences.get(&id) {
            Some(sequence) => Ok(sequence),
            None => refuse!("sequence {id} is not known"),
        }
    }

    /// Forgets a sequence.
    ///
    /// # Errors
    /// When it is not known.
    pub fn drop_sequence(&mut self, id: u64) -> Result<(), Violation> {
        match self.sequences.remove(&id) {
            Some(sequence) => self.blocks.release(&sequence.blocks),
            None => refuse!("drop: sequence {id} is not known"),
        }
        Ok(())
    }

    /// Takes in a new sequence and gives the number of its cached tokens.
    ///
    /// # Errors
    /// When its id is not new, or anything about it is out of its range.
    pub fn admit(&mut self, new: &NewSequence, options: &MockOptions) -> Result<u32, Violation> {
        let id = new.sequence_id;
        if !self.used_ids.insert(id) {
            refuse!("sequence {id}: the id was used before in this session");
        }
        if self.sequences.len() >= options.max_sequences as usize {
            refuse!(
                "sequence {id} is one more than the {} that fit",
                options.max_sequences
            );
        }
        let tokens = ids("token_ids", &new.token_ids, options.vocab_size)?;
        check_lengths(new, tokens.len(), self.blocks.block_size(), options)?;
        let sampling = new.sampling.clone().unwrap_or_default();
        check_sampling(id, &sampling, options)?;
        if sampling.prompt_logprobs && new.num_cached_tokens > 0 {
            refuse!("sequence {id} asks for prompt log-probabilities and has cached tokens");
        }
        let prompt = &tokens[..new.num_prompt_tokens as usize];
        let poisoned = options
            .faults
            .nan_token
            .is_some_and(|token| prompt.contains(&token));
        let mut sequence = Sequence {
            id,
            given: tokens.len() as u32,
            num_prompt_tokens: new.num_prompt_tokens,
            computed: new.num_cached_tokens,
            chain: Chain::EMPTY,
            blocks: Vec::new(),
            seed: new.seed,
            choice: new.choice,
            sampling,
            poisoned,
            ran_at: 0,
            tokens,
        };
        self.attach_first_blocks(&mut sequence, new, options)?;
        self.sequences.insert(id, sequence);
        Ok(new.num_cached_tokens)
    }

    fn attach_first_blocks(
        &mut self,
        sequence: &mut Sequence,
        new: &NewSequence,
        options: &MockOptions,
    ) -> Result<(), Violation> {
        let id = sequence.id;
        let [table] = &new.block_tables[..] else {
            refuse!(
                "sequence {id} has {} block tables; there is one KV group",
                new.block_tables.len()
            );
        };
        let block_size = self.blocks.block_size();
        let block_ids = ids("block_tables.block_ids", &table.block_ids, options.num_blocks)?;
        let cached_blocks = (new.num_cached_tokens / block_size) as usize;
        if block_ids.len() < cached_blocks {
            refuse!(
                "sequence {id}: {} blocks do not hold {} cached tokens",
                block_ids.len(),
                new.num_cached_tokens
            );
        }
        for (index, block) in block_ids.iter().enumerate() {
            if index < cached_blocks {
                let start = index * block_size as usize;
                let held = &sequence.tokens[start..start + block_size as usize];
                sequence.chain = held
                    .iter()
                    .fold(sequence.chain, |chain, token| chain.with(*token));
                self.blocks.share(*block, id, sequence.chain)?;
            } else {
                self.blocks.take(*block, id)?;
            }
            sequence.blocks.push(*block);
        }
        Ok(())
    }

    /// Advances a sequence by `num_tokens` after giving it `new_blocks`.
    ///
    /// # Errors
    /// When the sequence is unknown, has no such tokens, or its blocks do not cover them.
    pub fn advance(
        &mut self,
        id: u64,
        num_tokens: u32,
        new_blocks: &[u32],
        options: &MockOptions,
    ) -> Result<RowResult, Violation> {
        let Some(sequence) = self.sequences.get_mut(&id) else {
            refuse!("row: sequence {id} is not known")
        };
        if sequence.ran_at == self.step {
            refuse!("row: sequence {id} has two in one step");
        }
        sequence.ran_at = self.step;
        for block in new_blocks {
            self.blocks.take(*block, id)?;
            sequence.blocks.push(*block);
        }
        let known = sequence.tokens.len() as u32;
        let end = sequence.computed.saturating_add(num_tokens);
        if num_tokens == 0 || end > known {
            refuse!(
                "row: sequence {id} has {} of {known} tokens computed and cannot advance by {num_tokens}",
                sequence.computed
            );
        }
        let block_size = self.blocks.block_size();
        if u64::from(end) > sequence.blocks.len() as u64 * u64::from(block_size) {
            refuse!(
                "row: sequence {id} needs KV for {end} tokens, its {} blocks hold {block_size} each",
                sequence.blocks.len()
            );
        }
        for position in sequence.computed..end {
            sequence.chain = sequence.chain.with(sequence.tokens[position as usize]);
            if (position + 1).is_multiple_of(block_size) && !sequence.poisoned {
                let block = sequence.blocks[(position / block_size) as usize];
                self.blocks.fill(block, id, sequence.chain)?;
            }
        }
        sequence.computed = end;
        if end < known {
            return Ok(RowResult::Computed);
        }
        if sequence.poisoned {
            return Ok(RowResult::InvalidLogits);
        }
        if known >= options.max_position {
            refuse!("row: sequence {id} has {known} tokens, the model has no position for another");
        }
        let sampled = token(
            &options.tokens,
            options.end_of_text,
            options.vocab_size,
            &sequence.draw(),
        );
        sequence.tokens.push(sampled);
        Ok(RowResult::Sampled(sampled))
    }
}

/// Ids below `limit` from a packed field.
pub(crate) fn ids(field: &'static str, bytes: &[u8], limit: u32) -> Result<Vec<u32>, Violation> {
    View::<i32>::new(field, bytes)
        .and_then(|view| view.ids_below(limit))
        .map_err(|error| Violation(error.to_string()))
}

fn check_lengths(
    new: &NewSequence,
    tokens: usize,
    block_size: u32,
    options: &MockOptions,
) -> Result<(), Violation> {
    let id = new.sequence_id;
    if tokens == 0 || tokens > options.max_position as usize {
        refuse!(
            "sequence {id} has {tokens} tokens; it may have 1 to {}",
            options.max_position
        );
    }
    if new.num_prompt_tokens == 0 || new.num_prompt_tokens as usize > tokens {
        refuse!(
            "sequence {id}: {} of {tokens} tokens cannot be prompt",
            new.num_prompt_tokens
        );
    }
    let cached = new.num_cached_tokens;
    if cached as usize >= tokens || !cached.is_multiple_of(block_size) {
        refuse!(
            "sequence {id}: {cached} of {tokens} tokens cannot be cached; whole blocks of {block_size}, fewer than all"
        );
    }
    Ok(())
}

fn check_sampling(id: u64, sampling: &SamplingParameters, options: &MockOptions) -> Result<(), Violation> {
    let temperature = sampling.temperature.unwrap_or(1.0);
    if !temperature.is_finite() || temperature < 0.0 {
        refuse!("sequence {id}: temperature {temperature} is not 0 or more");
    }
    for (name, value) in [("top_p", sampling.top_p), ("typical_p", sampling.typical_p)] {
        let value = value.unwrap_or(1.0);
        if !(value > 0.0 && value <= 1.0) {
            refuse!("sequence {id}: {name} {value} is not in (0, 1]");
        }
    }
    for top in [sampling.top_logprobs, sampling.prompt_top_logprobs] {
        if top > options.max_top_logprobs {
            refuse!(
                "sequence {id}: {top} top log-probabilities are more than {}",
                options.max_top_logprobs
            );
        }
    }
    let biased = ids("logit_bias_ids", &sampling.logit_bias_ids, options.vocab_size)?;
    if biased.len() * 4 != sampling.logit_bias_values.len() {
        refuse!("sequence {id}: logit_bias_ids and logit_bias_values differ in length");
    }
    ids("stop_token_ids", &sampling.stop_token_ids, options.vocab_size)?;
    ids(
        "allowed_token_ids",
        &sampling.allowed_token_ids,
        options.vocab_size,
    )?;
    Ok(())
}
