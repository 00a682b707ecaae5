//! A checked step, as the runner gets it. Arrays keep the wire's packed little-endian form, so that
//! they become tensors without a copy an element.

use bytes::Bytes;

/// One step. Order of effects: `drop`, then `commands`, then `new_sequences`, then `rows` run.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Which session of this process it belongs to, counted from 1; a response names it.
    pub session: u64,
    /// The client's number of the session.
    pub session_epoch: u64,
    /// The first step of a session: all sequences and the KV cache are forgotten before it.
    pub new_session: bool,
    /// Counted from 1 in a session.
    pub step_id: u64,
    /// u64[n]: sequence ids to forget.
    pub drop: Bytes,
    /// What to do besides.
    pub commands: Vec<Command>,
    /// Sequences not seen before.
    pub new_sequences: Vec<NewSequence>,
    /// What runs.
    pub rows: Rows,
}

/// Parallel arrays, one entry a row, r rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// u64[r]
    pub sequence_ids: Bytes,
    /// i32[r], ≥ 1
    pub num_tokens: Bytes,
    /// i32[r], ≥ 0
    pub new_block_counts: Bytes,
    /// i32[sum of new_block_counts], in [0, num_blocks)
    pub new_blocks: Bytes,
    /// i32[r], or empty when no row has drafts
    pub num_draft_tokens: Bytes,
}

/// A sequence not seen before in the session.
#[derive(Clone, Debug, PartialEq)]
pub struct NewSequence {
    /// Never used again in the session.
    pub sequence_id: u64,
    /// i32[n], n ≥ 1, in [0, vocab_size)
    pub token_ids: Bytes,
    /// In [0, n].
    pub num_prompt_tokens: u32,
    /// In [0, n), whole blocks.
    pub num_cached_tokens: u32,
    /// With choice and position it fixes every random number.
    pub seed: u64,
    /// Index among the choices of a request.
    pub choice: u32,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// i32[b]: the block table so far (of the one KV group).
    pub block_ids: Bytes,
    /// What generated text must match.
    pub grammar: Option<Grammar>,
    /// Name of a loaded adapter.
    pub adapter: Option<String>,
}

/// How tokens are drawn, defaults applied, every number finite and in its range.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// ≥ 0; 0 is greedy.
    pub temperature: f32,
    /// 0 is off.
    pub top_k: u32,
    /// In (0, 1]; 1 is off.
    pub top_p: f32,
    /// In [0, 1]; 0 is off.
    pub min_p: f32,
    /// In (0, 1]; 1 is off.
    pub typical_p: f32,
    /// > 0; 1 is off.
    pub repetition_penalty: f32,
    /// 0 is off.
    pub frequency_penalty: f32,
    /// 0 is off.
    pub presence_penalty: f32,
    /// Return each sampled token's log-probability.
    pub logprobs: bool,
    /// And those of this many most likely tokens.
    pub top_logprobs: u32,
    /// Return the prompt's log-probabilities.
    pub prompt_logprobs: bool,
    /// And those of this many most likely tokens at each prompt position.
    pub prompt_top_logprobs: u32,
    /// Generated tokens before which none of `stop_token_ids` is drawn.
    pub min_tokens: u32,
    /// i32[n]
    pub stop_token_ids: Bytes,
    /// i32[n]; empty: all.
    pub allowed_token_ids: Bytes,
    /// i32[n]
    pub logit_bias_ids: Bytes,
    /// f32[n]
    pub logit_bias_values: Bytes,
}

/// What generated text must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grammar {
    /// A JSON schema.
    JsonSchema(String),
    /// A regular expression.
    Regex(String),
    /// A Lark grammar.
    Lark(String),
}

impl Grammar {
    /// `"json_schema"`, `"regex"` or `"lark"`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::JsonSchema(_) => "json_schema",
            Self::Regex(_) => "regex",
            Self::Lark(_) => "lark",
        }
    }

    /// Its source.
    pub fn source(&self) -> &str {
        match self {
            Self::JsonSchema(source) | Self::Regex(source) | Self::Lark(source) => source,
        }
    }
}

/// Something to do besides running rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The result names it.
    pub command_id: u64,
    /// What.
    pub kind: CommandKind,
}

/// What a command does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandKind {
    /// Read an adapter from a folder.
    LoadAdapter {
        /// Its name from then on.
        name: String,
        /// A folder on the shard's machine.
        path: String,
    },
    /// Forget an adapter.
    UnloadAdapter {
        /// Its name.
        name: String,
    },
}
