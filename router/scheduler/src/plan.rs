//! What goes in and out of the scheduler: submissions and outcomes in, plans and events out.

use std::sync::Arc;

use crate::ids::{BlockId, Micros, RequestId, SequenceId, StepId, TenantId, TokenId};

/// What a scheduler may use. Fixed for its life but for the number of blocks (see `reset`).
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Tokens a KV block.
    pub block_size: u32,
    /// Blocks of the KV cache.
    pub num_blocks: u32,
    /// Most tokens one step may run (`--max-batch-prefill-tokens`).
    pub max_step_tokens: u32,
    /// Most sequences that run at once.
    pub max_running: u32,
    /// Most sequences that wait; one more is rejected.
    pub max_waiting: u32,
    /// Most tokens, prompt and generated, a sequence may reach (`--max-total-tokens`).
    pub max_sequence_tokens: u32,
    /// Most tokens of KV all running sequences may hold (`--max-batch-total-tokens`);
    /// `None`: what the blocks give.
    pub max_total_tokens: Option<u32>,
    /// Most plans in flight (1: no overlap). The third and later ones are planned only while those
    /// in flight are estimated to last less than 5 ms.
    pub overlap_depth: u32,
    /// Whether full blocks are kept for later requests with the same beginning.
    pub prefix_caching: bool,
    /// Token counts a step should fill up to and not exceed by one, ascending; empty: none. A chunk
    /// of prefill is shortened for one when another step follows anyway and less than half of the
    /// way to the next edge would be used.
    pub step_token_edges: Vec<u32>,
    /// How often a waiting request may be passed by a later, smaller one.
    pub max_bypass: u32,
}

/// One sequence to generate.
#[derive(Clone, Debug, PartialEq)]
pub struct Submission {
    /// The caller's id.
    pub request: RequestId,
    /// Prompt tokens, then tokens generated before (replay after a lost shard); at least one.
    pub tokens: Arc<[TokenId]>,
    /// How many of `tokens` are prompt.
    pub num_prompt_tokens: u32,
    /// Generated tokens at which the sequence ends (`Length`), at least 1.
    pub max_new_tokens: u32,
    /// Generated tokens before which no stop token ends the sequence.
    pub min_new_tokens: u32,
    /// Token ids that end the sequence once `min_new_tokens` are there (EOS and stop_token_ids;
    /// empty with ignore_eos).
    pub stop_token_ids: Arc<[TokenId]>,
    /// Blocks are shared only between submissions of equal salt (adapter, tenant, cache_salt hashed together).
    pub cache_salt: u64,
    /// Whether it takes part in the prefix cache (false with prompt log-probabilities: every token
    /// must run). When false it neither uses cached blocks nor leaves any.
    pub use_prefix_cache: bool,
    /// Who shares fairly with whom.
    pub tenant: TenantId,
    /// Higher runs earlier and is preempted later. Nobody is preempted for one that waits.
    pub priority: i32,
    /// When waiting for the first start any longer is pointless; `None`: never. A request that was
    /// started, or that brings generated tokens, is not ended by it.
    pub deadline: Option<Micros>,
}

/// Why a submission was not taken. Nothing is kept of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The queue holds `limit` already. `retry_after`: when room is expected.
    QueueFull {
        /// `max_waiting`.
        limit: u32,
        /// Estimated from the work that waits and the measured speed.
        retry_after: Micros,
    },
    /// More tokens than a sequence may have, or than the KV cache can ever hold.
    TooLong {
        /// Tokens of the submission, its `max_new_tokens` not counted.
        tokens: u32,
        /// The most that fits.
        limit: u32,
    },
    /// No token at all, more prompt tokens than tokens, or `max_new_tokens` of zero.
    Malformed,
    /// The id is alive already.
    Duplicate,
}

/// One step for the shards.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Counted from 1 in a session.
    pub step: StepId,
    /// Sequences the shards forget before this step: those whose last row is applied. They travel
    /// with the next plan that has rows, never alone, and before any admission that takes their slot.
    pub drop: Vec<SequenceId>,
    /// Sequences the shards have not seen.
    pub admitted: Vec<Admission>,
    /// What runs, decode rows first.
    pub rows: Vec<Row>,
    /// Blocks appended to the rows' tables, row after row (see `Row::new_blocks`).
    pub new_blocks: Vec<BlockId>,
    /// Sum of the rows' tokens.
    pub num_tokens: u32,
}

/// A sequence that enters (or, after a preemption, comes back to) the shards' batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Admission {
    /// Whose it is.
    pub request: RequestId,
    /// Its id on the wire.
    pub sequence: SequenceId,
    /// Prompt and generated tokens so far.
    pub tokens: Vec<TokenId>,
    /// How many of them are prompt.
    pub num_prompt_tokens: u32,
    /// Leading tokens whose KV the blocks already hold; fewer than the tokens, whole blocks.
    pub num_cached_tokens: u32,
    /// The block table so far (cached blocks first); the rows add to it.
    pub blocks: Vec<BlockId>,
}

/// One sequence's share of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Which sequence.
    pub sequence: SequenceId,
    /// By how many tokens it advances, at least 1.
    pub num_tokens: u32,
    /// How many of `Plan::new_blocks` are its.
    pub new_blocks: u32,
}

/// What came back for a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Which step. Outcomes are applied in the order of the plans.
    pub step: StepId,
    /// One entry a row that sampled or failed, in the order of the plan's rows. An entry of a
    /// sequence that ended meanwhile may be missing.
    pub rows: Vec<RowOutcome>,
}

/// What one row sampled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowOutcome {
    /// Which sequence.
    pub sequence: SequenceId,
    /// Accepted tokens in order (one without drafts); empty with a failure.
    pub tokens: Vec<TokenId>,
    /// Set when the row could not be sampled: its sequence ends with `FinishReason::Failed`.
    pub failed: Option<RowFailure>,
}

/// Why a row could not be sampled. The other rows are unharmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowFailure {
    /// NaN, or no finite logit.
    InvalidLogits,
    /// The grammar could not be compiled or had no continuation.
    Grammar,
}

/// What a caller learns, in order. Every accepted request gets exactly one `Finished`.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A request entered the batch (again, after a preemption).
    Started {
        /// Whose.
        request: RequestId,
        /// Leading tokens taken from the prefix cache in this admission.
        cached_tokens: u32,
    },
    /// A token that counts.
    Token {
        /// Whose.
        request: RequestId,
        /// The token.
        token: TokenId,
        /// Index into `Outcome::rows` and into that row's tokens, for what travels beside it (log-probabilities).
        row: u32,
        /// See `row`.
        position_in_row: u32,
    },
    /// The request's blocks were taken for another; it waits again, nothing is lost.
    Preempted {
        /// Whose.
        request: RequestId,
    },
    /// The one terminal event.
    Finished {
        /// Whose.
        request: RequestId,
        /// Why.
        reason: FinishReason,
    },
}

/// Why a sequence ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// One of `stop_token_ids`, which was the last `Event::Token`.
    Stop(TokenId),
    /// `max_new_tokens` or the sequence limit.
    Length,
    /// `cancel`.
    Cancelled,
    /// Waited past its deadline.
    DeadlineExceeded,
    /// The shard could not sample it.
    Failed(RowFailure),
}

/// A look at the scheduler for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Sequences that wait.
    pub waiting: u32,
    /// Sequences in the batch.
    pub running: u32,
    /// Plans in flight.
    pub in_flight: u32,
    /// All blocks.
    pub blocks_total: u32,
    /// Blocks of running sequences (shared ones once).
    pub blocks_in_use: u32,
    /// Blocks kept for later requests only.
    pub blocks_cached: u32,
    /// Preemptions since the start.
    pub preemptions: u64,
    /// Prompt tokens looked up in the prefix cache since the start.
    pub prefix_queries_tokens: u64,
    /// Of these, found.
    pub prefix_hits_tokens: u64,
}
