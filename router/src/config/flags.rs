//! The one declaration of flags and environment names.

use std::os::fd::RawFd;
use std::path::PathBuf;

use clap::Parser;
use clap::builder::BoolishValueParser;

/// Serves HTTP in front of a group of shards.
#[derive(Clone, Debug, Parser)]
#[command(name = "shardline-router", version, about)]
pub struct Flags {
    /// Address to listen on; a name that is no address listens on all of them.
    #[arg(long, env, default_value = "0.0.0.0")]
    pub hostname: String,
    /// Port to listen on; 0: a free one.
    #[arg(short, long, env, default_value_t = 3000)]
    pub port: u16,
    /// Prefix of the shards' sockets, each PREFIX-RANK.
    #[arg(long, env)]
    pub shard_uds_path: PathBuf,
    /// Shards that the model is split over.
    #[arg(long, env, default_value_t = 1)]
    pub num_shard: u32,
    /// The name under which the model is served.
    #[arg(long, env)]
    pub model_id: String,
    /// Branch or commit that the model comes from, shown in /info.
    #[arg(long, env)]
    pub revision: Option<String>,
    /// The model's folder or .gguf file; without it the control pipe tells it.
    #[arg(long, env)]
    pub model_path: Option<PathBuf>,
    /// Reading end of the launcher's control pipe; its end of file ends this process.
    #[arg(long)]
    pub control_fd: Option<RawFd>,
    /// Requests that may be in work at once; more are answered 429.
    #[arg(long, env, default_value_t = 128)]
    pub max_concurrent_requests: u32,
    /// Largest `best_of` of the native routes.
    #[arg(long, env, default_value_t = 2)]
    pub max_best_of: u32,
    /// Most stop strings of a request.
    #[arg(long, env, default_value_t = 4)]
    pub max_stop_sequences: u32,
    /// Refuse requests that ask for structured output.
    #[arg(long, env, value_parser = BoolishValueParser::new())]
    pub disable_grammar_support: bool,
    /// Largest `top_n_tokens` of the native routes.
    #[arg(long, env, default_value_t = 5)]
    pub max_top_n_tokens: u32,
    /// Most prompt tokens of a request [default: max-total-tokens - 1].
    #[arg(long, env)]
    pub max_input_tokens: Option<u32>,
    /// Most prompt and generated tokens of a request [default: what the model and the memory allow].
    #[arg(long, env)]
    pub max_total_tokens: Option<u32>,
    /// Most tokens that one step runs [default: what the shards allow].
    #[arg(long, env)]
    pub max_batch_prefill_tokens: Option<u32>,
    /// Most tokens that the running requests may hold together [default: what the memory allows].
    #[arg(long, env)]
    pub max_batch_total_tokens: Option<u32>,
    /// Most sequences that run at once [default: what the shards allow].
    #[arg(long, env)]
    pub max_batch_size: Option<u32>,
    /// Most prompts of one completion request.
    #[arg(long, env, default_value_t = 4)]
    pub max_client_batch_size: u32,
    /// Largest request body in bytes.
    #[arg(long, env, default_value_t = 2_000_000)]
    pub payload_limit: u64,
    /// Texts that are tokenised at once.
    #[arg(long, env, default_value_t = 2)]
    pub validation_workers: u32,
    /// A tokenizer_config.json whose chat template and special tokens are used.
    #[arg(long, env)]
    pub tokenizer_config_path: Option<PathBuf>,
    /// How the model spells calls of tools, or none [default: what its chat template gives away].
    #[arg(long, env)]
    pub tool_call_parser: Option<String>,
    /// How the model marks its reasoning, or none [default: what its chat template gives away].
    #[arg(long, env)]
    pub reasoning_parser: Option<String>,
    /// Sampling defaults of the routes under /v1: `auto` (the model's generation_config.json), `none`
    /// or `vllm` (neutral ones), or the path of such a file or of a folder with one.
    #[arg(long, env, default_value = "auto")]
    pub generation_config: String,
    /// An origin that browsers may call from; repeatable [default: any].
    #[arg(long, env)]
    pub cors_allow_origin: Vec<String>,
    /// Serve no playground at /ui.
    #[arg(long, env, value_parser = BoolishValueParser::new())]
    pub disable_ui: bool,
    /// The key that clients send as `Authorization: Bearer KEY`; set it as API_KEY.
    #[arg(long, env, hide_env_values = true)]
    pub api_key: Option<String>,
    /// A file of API keys, each with its tenant and limits; read again when it changes or on SIGHUP.
    #[arg(long, env)]
    pub api_keys_file: Option<PathBuf>,
    /// A certificate chain in PEM: HTTPS is spoken instead of HTTP. Needs --tls-key.
    #[arg(long, env)]
    pub tls_cert: Option<PathBuf>,
    /// The private key of --tls-cert in PEM.
    #[arg(long, env)]
    pub tls_key: Option<PathBuf>,
    /// A port of its own for /metrics and /health, without key and TLS [default: none].
    #[arg(long, env)]
    pub prometheus_port: Option<u16>,
    /// A Unix socket on which the launcher asks for /health.
    #[arg(long)]
    pub health_uds_path: Option<PathBuf>,
    /// Keep the KV cache of prompts for later requests that begin alike.
    #[arg(long, env, default_value_t = true, action = clap::ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub prefix_caching: bool,
    /// Value of the `x-compute-type` header [default: the number of shards and their device].
    #[arg(long, env)]
    pub compute_type: Option<String>,
    /// Log one JSON object a line.
    #[arg(long, env, value_parser = BoolishValueParser::new())]
    pub json_output: bool,
    /// Least level that is logged, or a filter such as `info,shardline_router=debug`.
    #[arg(long, env, default_value = "info")]
    pub log_level: String,
    /// Seconds that running requests get to finish after SIGTERM or Ctrl-C.
    #[arg(short, long, env, default_value_t = 90)]
    pub graceful_termination_timeout: u64,
    /// Seconds that running requests wait for lost shards to come back by themselves. A launcher then
    /// replaces them, and they are awaited for as long as it takes.
    #[arg(long, env, default_value_t = 60)]
    pub shard_recovery_timeout: u64,
    /// Seconds after which a step without an answer means that its shards are lost.
    #[arg(long, env, default_value_t = 600)]
    pub step_timeout: u64,
    /// Steps that may be out at once; 1: none is sent ahead.
    #[arg(long, env, default_value_t = 2)]
    pub overlap_depth: u32,
}
