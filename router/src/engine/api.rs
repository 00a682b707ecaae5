//! What the HTTP side sees of the engine: a request of token ids in, a stream of token events out.
//!
//! No text, no status code, no protobuf here.

use std::sync::Arc;
use std::time::Duration;

/// Where the engine stands, for `/health` and for refusing early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineState {
    /// Not ready; `phase` is one of `download`, `starting`, `loading`, `warmup`.
    Starting {
        /// The phase's name.
        phase: String,
        /// One sentence for a person (progress, file), possibly empty.
        message: String,
    },
    /// Serving.
    Ready,
    /// The shard group is lost and is awaited; running streams pause.
    Recovering {
        /// What was lost and why.
        cause: String,
        /// Its processes may still live but are of no use: whoever supervises must replace them.
        stuck: bool,
    },
    /// No new requests; running ones finish.
    Draining,
    /// Over, with its cause.
    Failed {
        /// One sentence for a person.
        cause: String,
    },
}

/// What is served, known once the engine is ready.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineInfo {
    /// "llama", "qwen2", …
    pub model_type: String,
    /// "float32", "bfloat16", …
    pub dtype: String,
    /// "cpu", "cuda:0 …"
    pub device: String,
    /// Token ids are in `[0, vocab_size)`.
    pub vocab_size: u32,
    /// Most tokens (prompt and generated) of a sequence: flag, positions and KV cache considered.
    pub max_total_tokens: u32,
    /// Most prompt tokens of a sequence.
    pub max_input_tokens: u32,
    /// Tokens a step may run.
    pub max_step_tokens: u32,
    /// Tokens the KV cache holds.
    pub kv_cache_tokens: u32,
    /// Tokens a KV block.
    pub block_size: u32,
    /// Shards in the group.
    pub num_shard: u32,
    /// Attention backend's name.
    pub attention_backend: String,
    /// Most `top_logprobs` the shard returns.
    pub max_top_logprobs: u32,
    /// Optional abilities of the shard ("prompt_logprobs", …).
    pub features: Vec<String>,
    /// Phases of the shard's start: name and milliseconds.
    pub start_ms: Vec<(String, u32)>,
}

/// How tokens are drawn. Validated: every number is finite and in its range.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
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
    /// 1 is off; over prompt and generated tokens.
    pub repetition_penalty: f32,
    /// 0 is off; over generated tokens.
    pub frequency_penalty: f32,
    /// 0 is off; over generated tokens.
    pub presence_penalty: f32,
    /// Empty is off.
    pub logit_bias: Vec<(u32, f32)>,
    /// Empty is all.
    pub allowed_token_ids: Vec<u32>,
    /// Return each token's log-probability.
    pub logprobs: bool,
    /// And those of this many most likely ones.
    pub top_logprobs: u32,
    /// Return the prompt's log-probabilities; the prefix cache is then not used.
    pub prompt_logprobs: Option<u32>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: Vec::new(),
            allowed_token_ids: Vec::new(),
            logprobs: false,
            top_logprobs: 0,
            prompt_logprobs: None,
        }
    }
}

/// What generated text must match, in one of the notations that shards compile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grammar {
    /// A JSON schema.
    JsonSchema(Arc<str>),
    /// A regular expression.
    Regex(Arc<str>),
    /// A grammar in Lark's notation.
    Lark(Arc<str>),
}

/// One sequence to generate. A request with `n` choices submits `n` of these that differ in `choice`.
#[derive(Clone, Debug, PartialEq)]
pub struct Generate {
    /// Prompt, at least one token, each below the vocabulary's size.
    pub prompt: Arc<[u32]>,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// What the generated text must match.
    pub grammar: Option<Grammar>,
    /// Generated tokens at which the sequence ends; at least 1.
    pub max_new_tokens: u32,
    /// Generated tokens before which no stop token is drawn, unless a grammar leaves nothing else.
    pub min_new_tokens: u32,
    /// EOS ids and the request's own; empty with `ignore_eos`.
    pub stop_token_ids: Arc<[u32]>,
    /// With `choice` and the position it fixes every random number.
    pub seed: u64,
    /// Index among the choices of one request.
    pub choice: u32,
    /// Blocks are shared only between requests of equal salt.
    pub cache_salt: u64,
    /// Who shares fairly with whom.
    pub tenant: u64,
    /// Higher runs earlier.
    pub priority: i32,
}

/// A token with what travels beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratedToken {
    /// The token.
    pub id: u32,
    /// Natural logarithm of its probability before temperature and cuts, when asked for.
    pub logprob: Option<f32>,
    /// Most likely tokens first, when asked for.
    pub top: Vec<(u32, f32)>,
}

/// Log-probabilities of one prompt token, given those before it.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptToken {
    /// The token.
    pub id: u32,
    /// `None` for the first one.
    pub logprob: Option<f32>,
    /// Most likely tokens first.
    pub top: Vec<(u32, f32)>,
}

/// What a stream yields, in order; `Finished` is the last and comes exactly once.
#[derive(Clone, Debug, PartialEq)]
pub enum GenerationEvent {
    /// The sequence entered the batch for the first time.
    Started {
        /// Prompt tokens taken from the prefix cache.
        cached_tokens: u32,
        /// Time in the queue.
        queued: Duration,
    },
    /// The prompt's log-probabilities, before the first token.
    Prompt(Vec<PromptToken>),
    /// One token.
    Token(GeneratedToken),
    /// The end.
    Finished(Finish),
}

/// Why a sequence ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// A stop token, which was the last token event.
    Stop(u32),
    /// `max_new_tokens` or the sequence's limit.
    Length,
    /// Cancelled by its consumer or by a drain that ran out of time.
    Cancelled,
    /// Waited too long.
    DeadlineExceeded,
    /// The model gave no usable distribution for it (NaN); others are unharmed.
    InvalidLogits,
    /// Its grammar could not be compiled or allowed no further token; others are unharmed.
    Grammar,
    /// The shard group was lost and did not come back.
    ShardLost {
        /// What is known of the cause.
        cause: String,
    },
}

/// Why a submission was refused. Nothing of it is kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// `max_concurrent_requests` are running and waiting.
    #[error("{limit} requests are running and waiting already")]
    Overloaded {
        /// `--max-concurrent-requests`.
        limit: u32,
        /// When room is expected.
        retry_after: Duration,
    },
    /// Longer than a sequence may be.
    #[error("{tokens} tokens are more than the {limit} that fit")]
    TooLong {
        /// Prompt tokens.
        tokens: u32,
        /// The most that fits.
        limit: u32,
    },
    /// What no sequence can be; the caller's validation should have found it.
    #[error("{field}: {reason}")]
    Malformed {
        /// Field of `Generate`.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Not serving now.
    #[error("not serving: {state:?}")]
    NotReady {
        /// Why.
        state: EngineState,
    },
}

/// Why a grammar cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    /// The model's shards follow none.
    #[error("the model's shards follow no grammars")]
    Unsupported,
    /// A mistake in it, or something that is not supported.
    #[error("{message}")]
    Invalid {
        /// One sentence.
        message: String,
    },
    /// No text matches it.
    #[error("{message}")]
    Unsatisfiable {
        /// One sentence.
        message: String,
    },
    /// Compiling or following it would cost too much.
    #[error("{message}")]
    TooComplex {
        /// One sentence.
        message: String,
    },
    /// Too many are being compiled.
    #[error("too many grammars are being compiled")]
    Busy,
    /// No shard to compile it.
    #[error("not serving: {state:?}")]
    NotReady {
        /// Why.
        state: EngineState,
    },
}

/// A look at the engine for `/metrics`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EngineStats {
    /// Sequences waiting for the batch.
    pub waiting: u32,
    /// Sequences in the batch.
    pub running: u32,
    /// KV blocks in all.
    pub blocks_total: u32,
    /// KV blocks of running sequences.
    pub blocks_in_use: u32,
    /// KV blocks kept for later requests only.
    pub blocks_cached: u32,
    /// Preemptions since the start.
    pub preemptions: u64,
    /// Prompt tokens looked up in the prefix cache since the start.
    pub prefix_queries_tokens: u64,
    /// Of these, found.
    pub prefix_hits_tokens: u64,
    /// Steps since the start.
    pub steps: u64,
    /// Steps that were sent while an earlier one was still out.
    pub overlapped_steps: u64,
    /// Tokens run (prompt and decode) since the start.
    pub step_tokens: u64,
    /// Time from a step's send to its outcome, summed, in microseconds.
    pub step_us: u64,
    /// Tokens generated since the start.
    pub generated_tokens: u64,
}
